//! What can be wrong with a tree, an inventory or a variable, as sentences for an operator.
//!
//! Every problem names its object and, as far as known, the file and line it stands in.

use std::fmt;
use std::sync::Arc;

/// Where something was written: a file, and a line of it if known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file as the reader knows it: below the tree, below the inventory, or an argument.
    pub file: Arc<str>,
    /// Counted from 1; 0 if unknown.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

impl Place {
    pub(crate) fn new(file: &str, line: usize) -> Self {
        Self { file: file.into(), line: u32::try_from(line).unwrap_or(0) }
    }
}

/// One thing that keeps a resolution from being complete.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Problem {
    #[error("{0} is not a Kubespray tree: it has no {1}")]
    NotKubespray(Arc<str>, &'static str),

    #[error("Kubespray {version} is too old: {reason}; v2.28 and later are read")]
    Unsupported { version: Arc<str>, reason: Arc<str> },

    #[error("{what} exceeds the bound of {bound}")]
    TooLarge { what: Arc<str>, bound: u64 },

    #[error("cannot read {file}: {reason}")]
    Read { file: Arc<str>, reason: Arc<str> },

    #[error("{place}: {reason}")]
    Syntax { place: Place, reason: Arc<str> },

    #[error("{place}: key {key} is defined twice; the last one counts, as with Ansible")]
    DuplicateKey { place: Place, key: Arc<str> },

    /// Something that Ansible takes as it is, and that is likely a mistake.
    #[error("{place}: {reason}")]
    Doubtful { place: Place, reason: Arc<str> },

    /// Secrets are often kept so, and rarely matter here.
    #[error(
        "{0} is encrypted with ansible-vault as a whole: its variables are left out; give those that matter with -e"
    )]
    VaultedFile(Arc<str>),

    #[error("{place}: {name} is encrypted with ansible-vault: give its value with -e {name}=…")]
    Vaulted { name: Arc<str>, place: Place },

    #[error("{place}: {name} (host {host}): {reason}")]
    Undefined { host: Arc<str>, name: Arc<str>, place: Place, reason: Arc<str> },

    #[error("{place}: {} (host {host}): variables define each other in a circle", chain.join(" → "))]
    Loop { host: Arc<str>, chain: Vec<String>, place: Place },

    #[error("{place}: {name} (host {host}): {reason}")]
    Template { host: Arc<str>, name: Arc<str>, place: Place, reason: Arc<str> },

    #[error(
        "{place}: {name} (host {host}) needs {what}, which is only known where Ansible runs: give its value with -e {name}=…"
    )]
    Lookup { host: Arc<str>, name: Arc<str>, place: Place, what: Arc<str> },

    #[error("argument -e {argument}: {reason}")]
    ExtraVars { argument: Arc<str>, reason: Arc<str> },

    #[error("inventory {file}: {reason}")]
    Inventory { file: Arc<str>, reason: Arc<str> },

    #[error("host {host}: {reason}")]
    Node { host: Arc<str>, reason: Arc<str> },
}

impl Problem {
    /// Whether the rows are as Ansible would have them all the same.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::DuplicateKey { .. } | Self::Doubtful { .. } | Self::VaultedFile(_))
    }

    pub(crate) fn syntax(file: &str, line: usize, reason: impl fmt::Display) -> Self {
        Self::Syntax { place: Place::new(file, line), reason: reason.to_string().into() }
    }

    pub(crate) fn inventory(file: &str, reason: impl fmt::Display) -> Self {
        Self::Inventory { file: file.into(), reason: reason.to_string().into() }
    }
}
