//! Routes with what is told of them.

use axum::Router;
use axum::body::Bytes;
use axum::handler::Handler;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{self, MethodRouter};

use super::About;
use super::document;
use crate::app::App;
use crate::settings::Settings;

/// Where the document is.
pub(crate) const DOCUMENT: &str = "/openapi.json";

/// A route as the document tells of it.
pub(super) struct Described {
    pub(super) group: &'static str,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) about: About,
}

/// Routes with what is told of them. There is no other way to add one.
pub(crate) struct Endpoints {
    group: &'static str,
    router: Router<App>,
    described: Vec<Described>,
}

impl Endpoints {
    /// No routes yet, of a group.
    pub(crate) fn new(group: &'static str) -> Self {
        Self { group, router: Router::new(), described: Vec::new() }
    }

    /// Adds a handler under several paths.
    pub(crate) fn get<T: 'static>(
        self,
        paths: &[&'static str],
        handler: impl Handler<T, App>,
        about: About,
    ) -> Self {
        self.with("get", paths, &routing::get(handler), about)
    }

    /// As [`get`](Self::get), for another method.
    pub(crate) fn post<T: 'static>(
        self,
        paths: &[&'static str],
        handler: impl Handler<T, App>,
        about: About,
    ) -> Self {
        self.with("post", paths, &routing::post(handler), about)
    }

    /// As [`get`](Self::get), for another method.
    pub(crate) fn delete<T: 'static>(
        self,
        paths: &[&'static str],
        handler: impl Handler<T, App>,
        about: About,
    ) -> Self {
        self.with("delete", paths, &routing::delete(handler), about)
    }

    fn with(
        mut self,
        method: &'static str,
        paths: &[&'static str],
        handler: &MethodRouter<App>,
        about: About,
    ) -> Self {
        for &path in paths {
            self.router = self.router.route(path, handler.clone());
            self.described.push(Described { group: self.group, method, path, about });
        }
        self
    }

    /// Changes the router of what was added so far.
    pub(crate) fn map(mut self, change: impl FnOnce(Router<App>) -> Router<App>) -> Self {
        self.router = change(self.router);
        self
    }

    /// Adds all of another's.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.described.extend(other.described);
        self
    }

    /// Whether there is such a path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.described.iter().any(|route| route.path == path)
    }

    /// The paths that take a body, first those of the first group.
    pub(crate) fn posts(&self) -> Vec<&'static str> {
        self.described.iter().filter(|route| route.method == "post").map(|route| route.path).collect()
    }

    /// The routes, and `/openapi.json`, which tells of them all.
    pub(crate) fn with_document(self, settings: &Settings) -> Router<App> {
        let Self { router, mut described, .. } = self;
        let about = About::new("All routes, in OpenAPI 3.1");
        described.push(Described { group: "Server", method: "get", path: DOCUMENT, about });
        let document = Bytes::from(document::written(&described, settings).to_string());
        router.route(
            DOCUMENT,
            routing::get(move || async move { ([(CONTENT_TYPE, "application/json")], document) }),
        )
    }
}
