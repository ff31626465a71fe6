//! The arguments of calls, filters and tests, from their tokens.

use super::ast::Arguments;
use super::fault::{Fault, FaultKind, Outcome};
use super::lexer::Token;
use super::parser::Parser;

impl Parser {
    pub(super) fn call_arguments(&mut self) -> Outcome<Arguments> {
        let line = self.expect_op("(")?;
        let mut found = Arguments::default();
        let mut first = true;
        while !self.is_op(")") {
            if !first {
                self.expect_op(",")?;
                if self.is_op(")") {
                    break;
                }
            }
            first = false;
            let named = matches!((self.current(), self.ahead()), (Token::Name(_), Token::Op("=")));
            let allowed = if self.is_op("*") {
                found.rest.is_none() && found.named_rest.is_none()
            } else if self.is_op("**") || named {
                found.named_rest.is_none()
            } else {
                found.rest.is_none() && found.named_rest.is_none() && found.named.is_empty()
            };
            if !allowed {
                return Err(Fault::at(
                    FaultKind::Syntax,
                    line,
                    "invalid syntax for function call expression",
                ));
            }
            if self.skip_op("*") {
                found.rest = Some(self.expression(true)?);
            } else if self.skip_op("**") {
                found.named_rest = Some(self.expression(true)?);
            } else if named {
                let (name, _) = self.expect_name()?;
                self.next();
                let value = self.expression(true)?;
                if found.named.iter().any(|(known, _)| *known == name) {
                    let message = format!("keyword argument repeated: {name}");
                    self.unknown.push(Fault::at(FaultKind::Syntax, line, message));
                }
                found.named.push((name, value));
            } else {
                found.positional.push(self.expression(true)?);
            }
        }
        self.expect_op(")")?;
        Ok(found)
    }
}
