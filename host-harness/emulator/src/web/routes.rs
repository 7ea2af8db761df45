//! The table of routes.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, on};

use super::guard::{Access, Operation, guard};
use crate::error::{ErrorCode, ServiceError};
use crate::service::Service;
use crate::throttle::Throttle;
use crate::world::Shared;

/// A table of routes in which every line also says who may call it and which throttle it counts against.
pub(crate) struct Routes {
    world: Shared,
    service: Service,
    router: Router<Shared>,
}

impl Routes {
    pub(crate) fn new(world: &Shared, service: Service) -> Self {
        Self { world: Arc::clone(world), service, router: Router::new() }
    }

    /// Adds one operation.
    pub(crate) fn on<H, T>(
        mut self,
        method: MethodFilter,
        path: &str,
        access: Access,
        throttle: Throttle,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        let operation = Operation { service: self.service, access, throttle };
        let guarded = on(method, handler).route_layer(from_fn_with_state((self.world.clone(), operation), guard));
        self.router = self.router.route(path, guarded);
        self
    }

    pub(crate) fn finish(self) -> Router {
        self.router
            .fallback(|| async { ServiceError::new(ErrorCode::NOT_FOUND, "there is no such resource") })
            .with_state(self.world)
    }
}
