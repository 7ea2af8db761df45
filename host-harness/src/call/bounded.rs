//! Replacements for functions of `wasi:http` that wasmtime leaves without bounds.
//!
//! wasmtime bounds the bytes that cross the sandbox in one call and the number of handles, including handles that a
//! guest lends in a list. It does not bound the data that a handle keeps, such as a method or headers; that is bounded
//! here.
//!
//! `http-error-code` is replaced, too, because wasmtime's own finds no error code where a response's body breaks off.
//! Exchanges and their responses are in `responses.rs`.

use wasmtime::component::{Linker, Resource};
use wasmtime::{StoreContextMut, format_err};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi_http::p2::bindings::http::types::{
    HeaderError, Host as _, HostFields, HostOutgoingRequest as _, IoError, Method,
};
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody};
use wasmtime_wasi_http::p2::types::{HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::{FieldMap, WasiHttpView as _};

use super::responses;
use super::state::State;
use crate::egress::body_error_code;
use crate::limits::{LimitExceeded, LimitHit, LimitName};

/// The longest method, in bytes. The longest registered method has 17 letters.
const METHOD_BYTES: usize = 64;
/// The longest authority, in bytes: a host name has up to 253 characters, a port up to five.
const AUTHORITY_BYTES: usize = 300;

const HTTP_TYPES: &str = "wasi:http/types@0.2.12";
const SET_METHOD: &str = "[method]outgoing-request.set-method";

const HTTP_HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";
const HANDLE: &str = "handle";

/// Replaces these functions in a linker to which wasmtime has already added its own.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    for (instance, function) in [(HTTP_TYPES, SET_METHOD), (HTTP_HANDLER, HANDLE)] {
        // If wasmtime uses another version of the interface, our functions would stand beside its own and replace
        // nothing.
        if linker.instance(instance)?.func_wrap(function, |_, (): ()| Ok(())).is_ok() {
            return Err(format_err!("wasmtime does not link `{instance}`"));
        }
    }
    linker.allow_shadowing(true);
    replace_http(linker)?;
    responses::replace(linker, HTTP_TYPES, HTTP_HANDLER)?;
    linker.allow_shadowing(false);
    Ok(())
}

type Store<'a> = StoreContextMut<'a, State>;
type Request = Resource<HostOutgoingRequest>;
type Fields = Resource<FieldMap>;

fn replace_http(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut http = linker.instance(HTTP_TYPES)?;
    http.func_wrap(SET_METHOD, |mut store: Store<'_>, (request, method): (Request, Method)| match &method {
        Method::Other(other) if other.len() > METHOD_BYTES => Ok((Err(()),)),
        _ => Ok((store.data_mut().http().set_method(request, method)?,)),
    })?;
    http.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: Store<'_>, (request, authority): (Request, Option<String>)| match &authority {
            Some(authority) if authority.len() > AUTHORITY_BYTES => Ok((Err(()),)),
            _ => Ok((store.data_mut().http().set_authority(request, authority)?,)),
        },
    )?;

    // wasmtime looks for an error code of the interface, but a body's stream ends with an error of wasmtime's own type.
    // `body_error_code` translates that error.
    http.func_wrap("http-error-code", |mut store: Store<'_>, (error,): (Resource<IoError>,)| {
        let error = store.data_mut().ctx().table.get(&error)?;
        Ok((error.downcast_ref().and_then(body_error_code),))
    })?;

    // These functions make sets of headers. Other resources that hold headers took them from one of these functions, so
    // that they are already counted.
    http.func_wrap("[constructor]fields", |mut store: Store<'_>, (): ()| {
        store.data_mut().room_for_headers()?;
        Ok((HostFields::new(&mut store.data_mut().http())?,))
    })?;
    http.func_wrap("[static]fields.from-list", |mut store: Store<'_>, (entries,): (Vec<(String, Vec<u8>)>,)| {
        store.data_mut().room_for_headers()?;
        let mut http = store.data_mut().http();
        let fields: Result<Fields, HeaderError> = match HostFields::from_list(&mut http, entries) {
            Ok(fields) => Ok(fields),
            Err(error) => Err(http.convert_header_error(error)?),
        };
        Ok((fields,))
    })?;
    http.func_wrap("[method]fields.clone", |mut store: Store<'_>, (fields,): (Fields,)| {
        store.data_mut().room_for_headers()?;
        Ok((HostFields::clone(&mut store.data_mut().http(), fields)?,))
    })?;
    Ok(())
}

impl State {
    /// Fails if the guest already holds as many sets of headers as it may.
    pub(super) fn room_for_headers(&mut self) -> Result<(), LimitHit> {
        let limit = self.header_sets();
        let held = self.ctx().table.iter_mut().filter(|entry| {
            entry.is::<FieldMap>()
                || entry.is::<HostOutgoingRequest>()
                || entry.is::<HostOutgoingResponse>()
                || entry.is::<HostIncomingResponse>()
                || entry.is::<HostIncomingBody>()
                || entry.is::<HostFutureTrailers>()
        });
        let wanted = held.count() + 1;
        if wanted > limit {
            return Err(LimitHit::Other(LimitExceeded::new(LimitName::HeaderSets, wanted, limit)));
        }
        Ok(())
    }
}
