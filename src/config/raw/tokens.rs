//! The mirror of `admin.tokens`.

use crate::config::checked::{Permission, PoolPattern, Secret};
use crate::config::decode::{At, Field, Fields, Items, scalar, set};
use crate::config::problem::{Problems, Spot, quoted};
use crate::config::secrets::{TOKEN, variable};
use crate::config::suggest::nearest;
use crate::config::tree::{Node, Value};
use crate::ids::{Name, Role};

const POOL_RULE: &str = "CLUSTER/ROLE, such as esb/worker; \"*\" stands for any cluster, or for both roles";

/// An item of `admin.tokens`.
#[derive(Debug, Clone)]
pub(crate) struct RawToken {
    pub(crate) secret: Secret,
    /// `None`: it is good for everything.
    pub(crate) scope: Option<RawScope>,
}

/// What an item of `admin.tokens` says besides the token.
#[derive(Debug, Clone)]
pub(crate) struct RawScope {
    pub(crate) may: At<Items<Permission>>,
    pub(crate) pools: Field<Items<PoolPattern>>,
}

impl RawToken {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            let secret = variable(&TOKEN)(node, at, problems)?;
            return Some(RawToken { secret, scope: None });
        }
        let mut fields = Fields::open(node, at, problems)?;
        let secret = fields.required("token", "\"${NAME}\" with the name of an environment variable", variable(&TOKEN));
        let may = fields.required("may", "a list of read, operate, register", set("a list of permissions", permission));
        let pools = fields.field("pools", set("a list of pools, such as [esb/worker]", pool));
        fields.close();
        match (secret, may) {
            (Field::Given(secret), Field::Given(may)) => {
                Some(RawToken { secret: secret.value, scope: Some(RawScope { may, pools }) })
            }
            _ => None,
        }
    }
}

/// A token that stands at the wrong place is not shown.
fn shown(node: &Node, at: &Spot, rule: &str, problems: &mut Problems) -> Option<(String, String)> {
    let scalar = scalar(node, at, rule, problems)?;
    Some((scalar.text.clone(), quoted(scalar.written.as_ref().unwrap_or(&scalar.text))))
}

fn permission(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Permission> {
    let words = Permission::WORDS.map(|(word, _)| word);
    let allowed = words.join(", ");
    let (text, shown) = shown(node, at, &allowed, problems)?;
    let found = Permission::ALL.into_iter().find(|known| known.as_str() == text);
    if found.is_none() {
        let hint = nearest(&text, &words).map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default();
        problems.error(at, format!("{shown} is not known{hint}"), allowed);
    }
    found
}

fn pool(node: &Node, at: &Spot, problems: &mut Problems) -> Option<PoolPattern> {
    let (text, shown) = shown(node, at, POOL_RULE, problems)?;
    let pattern = pattern(&text);
    if pattern.is_none() {
        problems.error(at, format!("{shown} is not a pool"), POOL_RULE);
    }
    pattern
}

fn pattern(text: &str) -> Option<PoolPattern> {
    let (cluster, role) = text.split_once('/')?;
    let cluster = match cluster {
        "*" => None,
        name => Some(Name::parse(name)?),
    };
    let role = match role {
        "*" => None,
        word => Some(Role::ALL.into_iter().find(|role| role.as_str() == word)?),
    };
    Some(PoolPattern { cluster, role })
}
