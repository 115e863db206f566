//! What a template prints, and what value its text is.

use super::super::literal::{self, Words};
use super::super::value::Val;
use super::{Halt, fault};

/// Longest text that a template may print, in bytes.
const TEXT_LEN_BYTES_MAX: usize = 4 << 20;

/// What a template has printed so far.
#[derive(Default)]
pub(super) struct Output {
    text: String,
    nodes: usize,
    /// The only thing printed, as long as it is the only one.
    single: Option<Val>,
    /// Filters such as `to_json` give text that stays text.
    stays_text: bool,
}

impl Output {
    pub(super) fn push_text(&mut self, text: &str) -> Result<(), Halt> {
        if text.is_empty() {
            return Ok(());
        }
        self.nodes += 1;
        self.single = None;
        self.append(text)
    }

    fn append(&mut self, text: &str) -> Result<(), Halt> {
        if self.text.len() + text.len() > TEXT_LEN_BYTES_MAX {
            return fault("it prints too much text");
        }
        self.text.push_str(text);
        Ok(())
    }

    pub(super) fn push_value(&mut self, value: Val, stays_text: bool) -> Result<(), Halt> {
        let value = match value {
            Val::Undefined(reason) => return Err(Halt::Undefined(reason)),
            Val::None | Val::Nothing => Val::str(""),
            value => value,
        };
        self.nodes += 1;
        self.append(&value.text())?;
        self.stays_text = stays_text && self.nodes == 1;
        self.single = (self.nodes == 1).then_some(value);
        Ok(())
    }

    pub(super) fn finish(mut self, source: &str, native: bool) -> Result<Val, Halt> {
        if native && let Some(value) = self.single.take() {
            return Ok(value);
        }
        let stays_text = native || (self.stays_text && self.nodes == 1);
        if !stays_text && let Some(value @ (Val::List(_) | Val::Map(_))) = self.single {
            return Ok(value);
        }
        let looks_like_value =
            self.text.starts_with(['{', '[']) || matches!(self.text.as_str(), "True" | "False");
        if !stays_text
            && looks_like_value
            && let Some(value) = literal::parse(&self.text, Words::PythonAndJson)
        {
            return Ok(value);
        }
        let ends = |text: &str| text.len() - text.trim_end_matches('\n').len();
        for _ in ends(&self.text)..ends(source) {
            self.text.push('\n');
        }
        Ok(Val::str(&self.text))
    }
}
