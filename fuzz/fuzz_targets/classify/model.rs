//! What nodes may take for management, written from what is known of Tomcat, Synapse and Axis2, and not from the
//! classifier. It is slow, and knows the best-known names only.

/// Paths of which everything below is for managers, without the leading slash.
const PATHS: &[&str] = &[
    "carbon",
    "admin",
    "publisher",
    "console",
    "registry",
    "resource",
    "fileupload",
    "filedownload",
    "acs",
    "mexut",
    "lsp",
    "api/am/admin",
    "api/am/publisher",
    "api/am/devops",
    "api/am/gateway",
    "api/am/governance",
    "api/am/service-catalog",
    "api/server/v1",
    "api/identity/config-mgt",
    "api/identity/template",
    "api/identity/entitlement",
    "api/identity/oauth2",
    "internal/data/v1",
    "keymanager-operations",
    "client-registration",
    "usage-data-receiver",
    "endpoints",
    "identity/register",
    "identity/connect/register",
    "wso2/scim",
    "management",
    "metric-service",
];

/// Services that no worker is asked for, whatever the operator allows.
const SERVICES: &[&str] = &[
    "UserAdmin",
    "AuthenticationAdmin",
    "RemoteUserStoreManagerService",
    "LogViewer",
    "FileUploadService",
    "FileDownloadService",
    "ServerRolesManager",
    "CarbonAppUploader",
    "RemoteLoggingConfig",
    "EventBrokerService",
    "JrxmlFileUploader",
    "MediationLibraryUploader",
    "UserInformationRecoveryService",
    "OAuth2TokenValidationService",
    "ClaimManagementService",
];

/// What some reader of the address takes for management; `allowed` are services that only look like it.
pub fn management(path: &[u8], query: Option<&[u8]>, allowed: &[&str]) -> Option<String> {
    let raw = String::from_utf8_lossy(path).into_owned();
    let mut readings = vec![raw.clone()];
    readings.extend(tomcat(&raw));
    // A second reader behind Tomcat, who cuts what was decoded.
    readings.extend(tomcat(&raw).map(|read| read.split(['?', '#']).next().unwrap_or_default().to_owned()));
    if let Some(path) = readings.iter().find(|reading| is_management_path(reading, allowed)) {
        return Some(format!("the path {path}"));
    }
    let query = query.map(|query| format!("?{}", String::from_utf8_lossy(query))).unwrap_or_default();
    let axis = readings.iter().find_map(|reading| axis2(&format!("{reading}{query}")));
    axis.map(|service| format!("the service {service}"))
}

/// The path as Tomcat reads it: parameters cut, then decoded once, empty and dot segments resolved. `None` if it refuses.
fn tomcat(raw: &str) -> Option<String> {
    let cut: Vec<&str> = raw.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    let decoded = decode(&cut.join("/"))?;
    if decoded.contains(['\\', '\0']) {
        return None;
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()?),
            _ => segments.push(segment),
        }
    }
    Some(format!("/{}", segments.join("/")))
}

fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(after.get(..2)?).ok()?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &after[2..];
    }
    String::from_utf8(decoded).ok()
}

/// The letters that Java's comparison without regard to case takes for the same.
fn fold(text: &str) -> String {
    let one = |c: char| {
        let mut upper = c.to_uppercase();
        let upper = if upper.len() == 1 { upper.next() } else { None };
        upper.unwrap_or(c).to_lowercase().next().unwrap_or(c)
    };
    text.chars().map(one).collect()
}

/// Whether the path, behind any number of tenants and organisations, is below one of [`PATHS`] or names an admin service.
fn is_management_path(path: &str, allowed: &[&str]) -> bool {
    let written: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let folded: Vec<String> = written.iter().map(|segment| fold(segment)).collect();
    let mut reachable = vec![false; written.len() + 3];
    reachable[0] = true;
    for at in 0..written.len() {
        if !reachable[at] {
            continue;
        }
        let rest = &folded[at..];
        let below = |prefix: &&str| {
            let prefix: Vec<&str> = prefix.split('/').collect();
            rest.len() >= prefix.len() && rest.iter().zip(&prefix).all(|(segment, wanted)| segment == wanted)
        };
        if PATHS.iter().any(below) {
            return true;
        }
        if rest[0] == "services" && is_admin_service(&written[at + 1..], allowed) {
            return true;
        }
        reachable[at + 1] |= rest[0] == "o";
        reachable[at + 2] |= rest[0] == "o" || rest[0] == "t";
    }
    false
}

/// Whether what follows `/services` is nothing at all (Carbon lists its services), or an admin service.
fn is_admin_service(mut behind: &[&str], allowed: &[&str]) -> bool {
    while behind.len() >= 2 && fold(behind[0]) == "t" {
        behind = &behind[2..];
    }
    let Some(name) = behind.first() else { return true };
    let name = name.split('.').next().unwrap_or_default();
    // No service that is deployed has one of these in its name.
    let is_name = !name.contains(['%', ';', '?', '#']);
    is_known(name) || (is_name && fold(name).contains("admin") && !allowed.contains(&name))
}

fn is_known(name: &str) -> bool {
    SERVICES.iter().any(|service| fold(service) == fold(name))
}

/// The known admin service that Axis2 dispatches to: it takes what follows the last `services` and one more character, up
/// to the next slash or question mark, behind any tenant.
fn axis2(address: &str) -> Option<String> {
    let (_, behind) = address.rsplit_once("services")?;
    let mut skipped = behind.chars();
    skipped.next()?;
    let mut parts = skipped.as_str().split(['/', '?']);
    let mut name = parts.next()?;
    while name == "t" {
        parts.next()?;
        name = parts.next()?;
    }
    let name = name.split('.').next().unwrap_or_default();
    is_known(name).then(|| name.to_owned())
}
