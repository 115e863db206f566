//! One host of a cluster, for callers that evaluate templates of their own.
//!
//! In:   a [`Cluster`] and a host's name.
//! Out:  text, conditions and values as Ansible would see them in a task there.

use std::sync::Arc;

use super::cluster::{Cluster, Scope};
use super::jinja::{Env, Evaluator, Halt};
use super::problem::{Place, Problem};
use super::value::Val;

/// One host of a [`Cluster`]: evaluates as Ansible would in a task there.
#[derive(Debug)]
pub struct Host<'c> {
    cluster: &'c Cluster,
    name: Arc<str>,
    env: Arc<Env>,
    scope: Scope,
}

impl<'c> Host<'c> {
    pub(crate) fn new(cluster: &'c Cluster, name: Arc<str>, scope: Scope) -> Self {
        let env = cluster.env(&name, &scope);
        Self { cluster, name, env, scope }
    }

    /// The name in the inventory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same host in a task of another role: that role's defaults and vars count too.
    #[must_use]
    pub fn with_role(&self, role: &str) -> Self {
        let mut scope = self.scope.clone();
        scope.task.retain(|other| other != role);
        scope.task.push(role.to_owned());
        Self::new(self.cluster, self.name.clone(), scope)
    }

    /// The same host after `include_vars` of a file of the tree: its variables win over all but
    /// those of `-e`.
    #[must_use]
    pub fn with_vars(&self, path: &str) -> Self {
        let mut scope = self.scope.clone();
        scope.included.push(path.to_owned());
        Self::new(self.cluster, self.name.clone(), scope)
    }

    /// Renders a template to text.
    ///
    /// # Errors
    ///
    /// The problem, named by the innermost variable at fault or by the template itself.
    pub fn text(&self, template: &str) -> Result<String, Problem> {
        let value = self.evaluator().template_text(&template.into());
        value.map(|value| value.text()).map_err(|halt| self.problem(template, halt))
    }

    /// Whether a condition holds, written as in `when`.
    ///
    /// # Errors
    ///
    /// As [`Host::text`].
    pub fn truth(&self, expression: &str) -> Result<bool, Problem> {
        let held = self.evaluator().truth(&Val::str(expression));
        held.map_err(|halt| self.problem(expression, halt))
    }

    /// The value of an expression without braces; a variable's name is one.
    #[cfg(test)]
    pub fn value(&self, expression: &str) -> Result<serde_json::Value, Problem> {
        let value = self.evaluator().expression(expression);
        value.map(|value| value.to_json()).map_err(|halt| self.problem(expression, halt))
    }

    /// What the play's roles say about a variable where the inventory or `-e` overrides it.
    pub(crate) fn overridden(&self, variable: &str) -> Option<Val> {
        let layers = self.cluster.scope_layers(&self.scope);
        let (default, counts) = (layers.0.get(variable)?, self.env.vars.get(variable)?);
        (default.place != counts.place).then(|| default.value.clone())
    }

    /// Where a variable is defined, if it is.
    pub fn place(&self, variable: &str) -> Option<&Place> {
        self.env.vars.get(variable).map(|def| &def.place)
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    pub(crate) fn evaluator(&self) -> Evaluator<'_> {
        Evaluator::new(self.cluster, &self.env, &self.cluster.fuel)
    }

    pub(crate) fn cluster(&self) -> &'c Cluster {
        self.cluster
    }

    pub(crate) fn problem(&self, asked: &str, halt: Halt) -> Problem {
        let place = Place::new("(asked)", 0);
        self.evaluator().problem(asked, &place, halt)
    }
}
