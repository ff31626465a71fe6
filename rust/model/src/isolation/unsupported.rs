//! Systems on which a child cannot be handed sockets and memory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tabagent_llama::TokenId;
use tabagent_runtime::Stop;

use super::Isolation;
use crate::embed::{Row, Wanted};
use crate::error::Error;
use crate::load::LoadOptions;
use crate::open::Open;

/// There is none.
#[derive(Debug)]
pub(crate) enum Host {}

impl Host {
    pub(crate) fn refuse(&self) {
        match *self {}
    }

    pub(crate) fn close(&self) {
        match *self {}
    }

    pub(crate) fn moved(&self) -> Option<&str> {
        match *self {}
    }

    pub(crate) fn library(&self) -> &str {
        match *self {}
    }

    pub(crate) fn embed(
        &self,
        _: Wanted,
        _: &[&[TokenId]],
        _: Stop<'_>,
        _: &mut dyn FnMut(Row<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match *self {}
    }
}

pub(crate) fn load(
    _: PathBuf,
    _: &Path,
    _: Option<String>,
    _: &LoadOptions,
    _: &Isolation,
    _: &dyn Fn(f32) -> bool,
) -> Result<Open, Error> {
    Err(Error::IsolationUnsupported)
}

pub(crate) fn serve() -> ExitCode {
    ExitCode::from(2)
}
