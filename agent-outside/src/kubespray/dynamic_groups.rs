//! Groups that Kubespray's first play makes of others, and of their old names.
//!
//! In:   the `group_by` tasks before the play that downloads, as roles/dynamic_groups has them.
//! Out:  hosts in further groups; variables of the inventory are laid anew with those.

use super::cluster::{Cluster, Scope};
use super::jinja::Evaluator;
use super::problem::{Place, Problem};
use super::roles;
use super::value::Val;

impl Cluster {
    /// Adds hosts to groups as the `group_by` tasks before the first play do.
    pub(crate) fn add_dynamic_groups(&mut self) -> Result<(), Problem> {
        let mut problems = Vec::new();
        let plays =
            self.plays.iter().take_while(|play| !play.roles.iter().any(|r| r == "download"));
        let tasks: Vec<Val> = plays
            .flat_map(|play| {
                let of_roles = play.roles.iter();
                let of_roles =
                    of_roles.flat_map(|r| roles::tasks(&self.tree, r, "main", &mut problems));
                play.tasks.iter().cloned().chain(of_roles).collect::<Vec<_>>()
            })
            .filter(|task| roles::module(task, "group_by").is_some())
            .collect();
        let mut found = Vec::new();
        for task in &tasks {
            for host in self.inventory.members("all") {
                match self.group_by(task, &host) {
                    Ok(groups) => {
                        found.extend(groups.into_iter().map(|group| (group, host.clone())));
                    }
                    Err(problem) => problems.push(problem),
                }
            }
        }
        for (group, host) in found {
            self.inventory.add_host(&group, &host, "dynamic groups")?;
        }
        if !tasks.is_empty() {
            self.inventory.settle("with dynamic groups")?;
            self.read_vars(&mut problems);
        }
        self.problems.borrow_mut().extend(problems);
        Ok(())
    }

    fn group_by(&self, task: &Val, host: &str) -> Result<Vec<String>, Problem> {
        let env = self.env(host, &Scope::default());
        let place = Place::new("roles/dynamic_groups/tasks/main.yml", 0);
        let ev = Evaluator::new(self, &env, &self.fuel);
        let named = |halt| ev.problem("group_by", &place, halt);
        let Some(dict) = task.as_map() else { return Ok(Vec::new()) };
        let key =
            roles::module(task, "group_by").and_then(Val::as_map).and_then(|m| m.get_str("key"));
        let task_vars = dict.get_str("vars").and_then(Val::as_map);
        let mut locals = Vec::new();
        for (name, value) in task_vars.iter().flat_map(|vars| vars.iter()) {
            locals.push((name.to_val().text(), ev.template(value).map_err(named)?));
        }
        let with = |item: Option<Val>| {
            let item = item.map(|item| ("item".to_owned(), item));
            Evaluator::new(self, &env, &self.fuel).with_locals(locals.iter().cloned().chain(item))
        };
        let items = match dict.get_str("loop").or_else(|| dict.get_str("with_items")) {
            Some(items) => match with(None).template(items).map_err(named)? {
                Val::List(items) => items.iter().cloned().map(Some).collect(),
                one => vec![Some(one)],
            },
            None => vec![None],
        };
        let mut groups = Vec::new();
        for item in items {
            let ev = with(item);
            let when = Val::list(roles::conditions(dict.get_str("when")));
            if ev.truth(&when).map_err(named)?
                && let Some(key) = key
            {
                groups.push(ev.template(key).map_err(named)?.text().replace(' ', "-"));
            }
        }
        Ok(groups)
    }
}
