//! The exported functions. Each checks its arguments before it calls the connector.

use std::marker::PhantomData;

use crate::bindings::exports::workflow::connector::connection::Validation;
use crate::bindings::exports::workflow::connector::{action, connection, discovery, lifecycle, metadata, trigger};
use crate::form::{self, Kind, Values, problem};
use crate::{
    Answer, Call, Choices, ChoicesRequest, Connection, Connector, Descriptor, Direction, ErrorCode, Event, Outcome,
    PARTITION, Page, Partition, PollRequest, Received, ReceivedRequest, Report, Retry, Stored, Subscription, error,
    invalid, unsupported,
};

/// Exports a [`Connector`] through the interface. See [`export!`](crate::export).
pub struct Adapter<C>(PhantomData<C>);

fn account<C: Connector>(connection: &Connection) -> Answer<Values> {
    form::check(C::ACCOUNT, &connection.values, ErrorCode::InvalidConfig)
}

fn known(id: &str, ids: impl IntoIterator<Item = String>) -> Answer<()> {
    match ids.into_iter().any(|known| known == id) {
        true => Ok(()),
        false => Err(error(ErrorCode::NotFound, Retry::Never, format!("There is no operation {id:?}."))),
    }
}

/// The account and the configuration of a trigger, both checked.
fn trigger<C: Connector>(connection: &Connection, id: &str, config: &str) -> Answer<(Values, Values)> {
    known(id, C::describe().triggers.into_iter().map(|trigger| trigger.operation.id))?;
    let config = form::check(form::of::<C>(id).unwrap_or_default(), config, ErrorCode::InvalidConfig)?;
    Ok((account::<C>(connection)?, config))
}

fn known_action<C: Connector>(id: &str) -> Answer<()> {
    known(id, C::describe().actions.into_iter().map(|action| action.operation.id))
}

impl<C: Connector> metadata::Guest for Adapter<C> {
    fn describe() -> Descriptor {
        C::describe()
    }

    fn migrate(from: String, item: Stored) -> Answer<Stored> {
        let version = |text: &str| -> Option<[u64; 3]> {
            let parts: Option<Vec<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
            parts?.try_into().ok()
        };
        let stored = version(&from).ok_or_else(|| invalid("/from-version", "must be a version such as 1.2.0"))?;
        if Some(stored) > version(&C::describe().version) {
            return Err(error(ErrorCode::Unsupported, Retry::Never, format!("Version {from} is newer than this one.")));
        }
        C::migrate(&from, item)
    }
}

impl<C: Connector> connection::Guest for Adapter<C> {
    fn validate(connection: Connection) -> Validation {
        let (mut values, mut problems) = form::read(C::ACCOUNT, &connection.values);
        if !C::describe().auth_profiles.iter().any(|profile| profile.id == connection.auth_profile) {
            problems.push(problem("", "unknown-profile", "must be a profile of this connector"));
        }
        values.retain(|name, _| C::ACCOUNT.iter().any(|field| field.name == name && field.kind != Kind::Secret));
        Validation { problems, normalized: serde_json::Value::Object(values).to_string() }
    }

    fn test(connection: Connection, deadline_ms: u64) -> Answer<Report> {
        C::test(&account::<C>(&connection)?, deadline_ms)
    }

    fn label(connection: Connection) -> Answer<String> {
        Ok(C::label(&account::<C>(&connection)?))
    }
}

impl<C: Connector> discovery::Guest for Adapter<C> {
    fn options(connection: Connection, request: ChoicesRequest, deadline_ms: u64) -> Answer<Choices> {
        C::options(&account::<C>(&connection)?, &request, deadline_ms)
    }

    fn resolve_schema(_: Connection, operation: String, _: Direction, _: String, _: u64) -> Answer<String> {
        let described = C::describe();
        let triggers = described.triggers.into_iter().map(|trigger| trigger.operation.id);
        known(&operation, triggers.chain(described.actions.into_iter().map(|action| action.operation.id)))?;
        unsupported()
    }
}

impl<C: Connector> trigger::Guest for Adapter<C> {
    fn partitions(connection: Connection, id: String, config: String, _: u64) -> Answer<Vec<Partition>> {
        trigger::<C>(&connection, &id, &config)?;
        Ok(vec![Partition { id: PARTITION.to_owned(), title: "All".to_owned() }])
    }

    fn poll(request: PollRequest) -> Answer<Page> {
        let (account, config) = trigger::<C>(&request.connection, &request.trigger, &request.config)?;
        C::poll(&account, &config, &request)
    }

    fn sample(connection: Connection, id: String, config: String, limit: u32, ms: u64) -> Answer<Vec<Event>> {
        let (account, config) = trigger::<C>(&connection, &id, &config)?;
        C::sample(&account, &id, &config, limit, ms)
    }

    fn subscribe(connection: Connection, id: String, config: String, url: String, _: u64) -> Answer<Subscription> {
        let (account, _) = trigger::<C>(&connection, &id, &config)?;
        C::subscribe(&account, &id, Some(&url), &[])
    }

    fn renew(connection: Connection, id: String, config: String, state: Vec<u8>, _: u64) -> Answer<Subscription> {
        let (account, _) = trigger::<C>(&connection, &id, &config)?;
        C::subscribe(&account, &id, None, &state)
    }

    fn unsubscribe(connection: Connection, id: String, config: String, state: Vec<u8>, _: u64) -> Answer<()> {
        let (account, _) = trigger::<C>(&connection, &id, &config)?;
        C::unsubscribe(&account, &id, &state)
    }

    fn receive(
        connection: Connection,
        id: String,
        config: String,
        _: Vec<u8>,
        request: ReceivedRequest,
    ) -> Answer<Received> {
        let (account, _) = trigger::<C>(&connection, &id, &config)?;
        C::receive(&account, &id, &request)
    }
}

impl<C: Connector> action::Guest for Adapter<C> {
    fn invoke(connection: Connection, id: String, input: String, call: Call) -> Answer<Outcome> {
        known_action::<C>(&id)?;
        let input = form::check(form::of::<C>(&id).unwrap_or_default(), &input, ErrorCode::InvalidInput)?;
        C::invoke(&account::<C>(&connection)?, &id, &input, &call)
    }

    fn resume(connection: Connection, id: String, token: String, call: Call) -> Answer<Outcome> {
        known_action::<C>(&id)?;
        C::resume(&account::<C>(&connection)?, &id, &token, &call)
    }

    fn invoke_batch(
        connection: Connection,
        id: String,
        inputs: Vec<String>,
        call: Call,
    ) -> Answer<Vec<Answer<Outcome>>> {
        known_action::<C>(&id)?;
        account::<C>(&connection)?;
        Ok(inputs.into_iter().map(|input| Self::invoke(connection.clone(), id.clone(), input, call.clone())).collect())
    }
}

impl<C: Connector> lifecycle::Guest for Adapter<C> {
    fn release() {
        C::release();
    }
}
