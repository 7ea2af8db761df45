//! Which HTTP APIs a listener serves.

use axum::Router;

use crate::service::Service;
use crate::world::World;

/// The APIs of a listener: one service's, or both told apart by the path.
#[derive(Clone)]
pub(crate) struct Site {
    service: Service,
    router: Router,
    dps: Option<Router>,
}

impl Site {
    /// The API of one service.
    pub(crate) fn one(service: Service, router: Router) -> Self {
        Self { service, router, dps: None }
    }

    /// The APIs of both services.
    pub(crate) fn both(hub: Router, dps: Router) -> Self {
        Self { service: Service::Hub, router: hub, dps: Some(dps) }
    }

    /// The service for which TLS is chosen.
    pub(super) fn service(&self) -> Service {
        self.service
    }

    /// The service that a path belongs to, and its routes.
    pub(super) fn at(&self, world: &World, path: &str) -> (Service, Router) {
        let first = path.split('/').nth(1).unwrap_or_default();
        let of_dps = ["enrollments", "enrollmentGroups", "registrations", world.options.id_scope.as_str()];
        match &self.dps {
            Some(dps) if of_dps.iter().any(|name| name.eq_ignore_ascii_case(first)) => (Service::Dps, dps.clone()),
            _ => (self.service, self.router.clone()),
        }
    }
}
