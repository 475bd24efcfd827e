//! Properties: nothing panics, and no mutation of a management URL goes to a worker.

use proptest::prelude::*;

use super::*;

/// Management as a client would write it.
const TARGETS: &[&str] = &[
    "/carbon",
    "/carbon/admin/login.jsp",
    "/t/wso2.com/carbon/",
    "/admin",
    "/publisher/apis",
    "/console/",
    "/fileupload/toolsAny",
    "/api/am/publisher/v4/apis",
    "/api/server/v1/applications",
    "/internal/data/v1/apis",
    "/keymanager-operations/dcr/register",
    "/endpoints/throttleEventReceiver",
    "/identity/connect/register",
    "/services/UserAdmin",
    "/services/UserAdmin.UserAdminHttpsSoap11Endpoint",
    "/services/UserAdmin/addUser",
    "/services/LogViewer.LogViewerHttpEndpoint",
    "/services/FileUploadService",
    "/t/wso2.com/services/RemoteUserStoreManagerService",
    "/services/t/wso2.com/AuthenticationAdmin/login",
];

/// What can be done to a URL, at a place in it.
#[derive(Debug, Clone, Copy)]
enum Mutation {
    FlipCase,
    Encode,
    EncodeTwice,
    /// Put a text in at the place.
    Insert(&'static str),
    /// Put a text in before the next `/`, or at the end.
    BeforeSlash(&'static str),
    /// Put a text in front of everything.
    Prefix(&'static str),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        2 => Just(Mutation::FlipCase),
        2 => Just(Mutation::Encode),
        1 => Just(Mutation::EncodeTwice),
        2 => prop::sample::select(INSERTS).prop_map(Mutation::Insert),
        2 => prop::sample::select(ENDINGS).prop_map(Mutation::BeforeSlash),
        2 => prop::sample::select(PREFIXES).prop_map(Mutation::Prefix),
    ]
}

const INSERTS: &[&str] =
    &["/", "/.", "/x/..", "//", "\\", "%2f", "%2F", "%5c", "%00", ";", "%3b", ".", "%2e", "%", " ", "t/"];
const ENDINGS: &[&str] =
    &[";", ";x=y", ";jsessionid=1", "/", "/.", "/x/..", "/..;", "/;", "%2e", "%20", "%3fx", "?", "#"];
#[rustfmt::skip] // one line for each kind would be twenty
const PREFIXES: &[&str] = &[
    "/t/a", "/t/a/t/b", "/T/a", "/services/..", "/services/..;", "/services/echo/..", "/services/%2e%2e", "/x/..",
    "/.", "/;x", "/", "//", "/oauth2/..", "/oauth2/..;/", "/services/echo", "/o/org", "/t/a/o", "/%2e", "/t/a;x",
    "/services", "/pizza",
];

fn apply(url: &mut String, mutation: Mutation, place: usize) {
    let at = place % (url.len() + 1);
    let byte = url.as_bytes().get(at).copied();
    match (mutation, byte) {
        (Mutation::FlipCase, Some(byte)) if byte.is_ascii_alphabetic() => {
            url.replace_range(at..=at, &char::from(byte ^ 0x20).to_string());
        }
        (Mutation::Encode, Some(byte)) if byte != b'/' => url.replace_range(at..=at, &format!("%{byte:02x}")),
        (Mutation::EncodeTwice, Some(byte)) => url.replace_range(at..=at, &format!("%25{byte:02X}")),
        (Mutation::Insert(text), _) => url.insert_str(at, text),
        (Mutation::BeforeSlash(text), _) => {
            let slash = url[at..].find('/').map_or(url.len(), |found| at + found);
            url.insert_str(slash, text);
        }
        (Mutation::Prefix(text), _) => url.insert_str(0, text),
        _ => {}
    }
}

/// Tomcat's reading of a raw path, written from the reference and not from the code under test: parameters are cut in
/// each segment, escapes decoded once, `//` collapsed, dots resolved. `None` if Tomcat answers 400 or cannot be reached
/// with it; `lenient` takes `\` and `%2f` for slashes, as some other reader might.
fn tomcat(raw: &str, lenient: bool) -> Option<Vec<String>> {
    if !raw.starts_with('/') {
        return None;
    }
    let raw = raw.split(['?', '#']).next()?;
    let cut: Vec<&str> = raw.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    let mut decoded = Vec::new();
    let joined = cut.join("/");
    let mut bytes = joined.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let value = u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
            if value == b'/' && !lenient {
                return None;
            }
            decoded.push(value);
        } else {
            decoded.push(byte);
        }
    }
    let mut text = String::from_utf8(decoded).ok()?;
    if lenient {
        text = text.replace('\\', "/");
    } else if text.contains(['\\', '\0']) {
        return None;
    }
    let mut segments: Vec<String> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()?),
            _ => segments.push(segment.to_lowercase()),
        }
    }
    Some(segments)
}

/// Whether a path, read, is management: the prefixes and names of [`TARGETS`], behind any tenants.
fn is_management(segments: &[String]) -> bool {
    const PREFIXES: &[&str] = &[
        "carbon",
        "admin",
        "publisher",
        "console",
        "fileupload",
        "api/am/publisher",
        "api/server/v1",
        "internal/data/v1",
        "keymanager-operations",
        "endpoints",
        "identity/connect/register",
    ];
    const NAMES: &[&str] = &["logviewer", "fileuploadservice", "remoteuserstoremanagerservice"];
    let segments = without_tenants(segments);
    let path = segments.join("/");
    if PREFIXES.iter().any(|prefix| path == *prefix || path.starts_with(&format!("{prefix}/"))) {
        return true;
    }
    // Axis2 takes the last `services`.
    let Some(at) = segments.iter().rposition(|segment| segment == "services") else { return false };
    match without_tenants(&segments[at + 1..]).first() {
        Some(name) => name.contains("admin") || NAMES.contains(&name.split('.').next().unwrap_or_default()),
        None => at == 0,
    }
}

fn without_tenants(mut segments: &[String]) -> &[String] {
    while segments.len() >= 2 && segments[0] == "t" {
        segments = &segments[2..];
    }
    segments
}

fn classifiers() -> [Classifier; 3] {
    let mut any = cluster("x", Product::Apim, "x", "x");
    any.services = Services::AnyButAdmin;
    let mut open = any.clone();
    open.paths.service = vec!["/".into()];
    [cluster("x", Product::Is, "x", "x"), any, open].map(|cluster| Classifier::new(&config(vec![cluster])))
}

const MODES: [PathMode; 2] = [PathMode::Strict, PathMode::Canonicalize];

fn refused_for_workers(classifiers: &[Classifier], path: &str) -> Result<(), TestCaseError> {
    for (classifier, paths) in classifiers.iter().flat_map(|classifier| MODES.map(|mode| (classifier, mode))) {
        for on in On::ALL {
            let facts = Facts { paths, ..on.facts(b"x", path.as_bytes()) };
            if let Ok(decision) = classifier.classify(&facts) {
                prop_assert!(decision.role == Role::Manager, "{on:?} {paths:?} {path}");
            }
        }
    }
    Ok(())
}

/// What is forwarded in place of `path` reads, to Tomcat and to a lenient reader, like what Tomcat reads in `path`; the
/// strict mode accepts it as it is, and decides the same.
fn forwarded_means_the_same(classifiers: &[Classifier], path: &str) -> Result<bool, TestCaseError> {
    let mut rewritten = false;
    for (classifier, on) in classifiers.iter().flat_map(|classifier| On::ALL.map(|on| (classifier, on))) {
        let facts = Facts { paths: PathMode::Canonicalize, ..on.facts(b"x", path.as_bytes()) };
        let Ok(mut decision) = classifier.classify(&facts) else { continue };
        let forward = decision.forward.take();
        rewritten |= forward.is_some();
        let forwarded = forward.as_deref().unwrap_or(path.as_bytes());
        let reading = tomcat(path, false);
        prop_assert!(reading.is_some(), "Tomcat refuses {path}");
        for lenient in [false, true] {
            let again = tomcat(std::str::from_utf8(forwarded).unwrap(), lenient);
            prop_assert_eq!(&again, &reading, "{} for {}", forwarded.escape_ascii(), path);
        }
        for paths in MODES {
            let again = classifier.classify(&Facts { paths, path: forwarded, ..facts });
            prop_assert_eq!(again.as_ref(), Ok(&decision), "{:?} {} for {}", paths, forwarded.escape_ascii(), path);
        }
    }
    Ok(rewritten)
}

#[test]
fn the_model_takes_the_targets_for_management() {
    let classifiers = classifiers();
    for target in TARGETS {
        assert!(tomcat(target, false).is_some_and(|read| is_management(&read)), "{target}");
        refused_for_workers(&classifiers, target).unwrap();
    }
    for harmless in ["/services/echo", "/oauth2/token", "/pizza/services/42", "/carbonara"] {
        assert!(tomcat(harmless, false).is_some_and(|read| !is_management(&read)), "{harmless}");
    }
}

#[test]
fn mutated_management_urls_never_go_to_workers() {
    let classifiers = classifiers();
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(
        ProptestConfig { cases: 6_000, failure_persistence: None, ..ProptestConfig::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let mutations = prop::collection::vec((mutation(), any::<usize>()), 1..5);
    let strategy = (prop::sample::select(TARGETS), mutations);
    let (still_management, rewritten) = (std::cell::Cell::new(0_u32), std::cell::Cell::new(0_u32));
    runner
        .run(&strategy, |(target, mutations)| {
            let mut url = target.to_owned();
            mutations.iter().for_each(|&(mutation, place)| apply(&mut url, mutation, place));
            let readings = [tomcat(&url, false), tomcat(&url, true)];
            if readings.into_iter().flatten().any(|read| is_management(&read)) {
                still_management.set(still_management.get() + 1);
                refused_for_workers(&classifiers, &url)?;
            }
            rewritten.set(rewritten.get() + u32::from(forwarded_means_the_same(&classifiers, &url)?));
            Ok(())
        })
        .unwrap();
    // The mutations must bite, or the test shows nothing.
    let still_management = still_management.get();
    assert!(still_management > 1_500, "only {still_management} of 6,000 were still management to Tomcat");
    let rewritten = rewritten.get();
    assert!(rewritten > 500, "only {rewritten} of 6,000 were rewritten and served");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(
        host in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
        path in prop::collection::vec(any::<u8>(), 0..300),
        query in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        for classifier in classifiers() {
            for (on, paths) in On::ALL.into_iter().zip([PathMode::Strict, PathMode::Canonicalize].into_iter().cycle()) {
                let facts = Facts { paths, ..on.facts(b"x", &path) };
                let _ = classifier.classify(&Facts { host: host.as_deref(), ..facts });
                if let Ok(decision) = classifier.classify(&facts) {
                    let _ = classifier.check_query(&facts, &decision, &query);
                }
            }
        }
    }

    #[test]
    fn random_paths_never_panic_and_tenants_are_clean(path in "(/(t|T|services|o|carbon|[a-z.;%é]{0,6}|%[0-9a-f]{2})){0,8}/?") {
        for classifier in classifiers() {
            for on in On::ALL {
                if let Ok(decision) = classifier.classify(&on.facts(b"x", path.as_bytes())) {
                    let clean = |c: char| c.is_ascii_alphanumeric() || ".-_@+".contains(c);
                    prop_assert!(decision.tenant.is_none_or(|tenant| !tenant.is_empty() && tenant.chars().all(clean)));
                }
            }
        }
    }

    #[test]
    fn any_path_that_is_rewritten_keeps_its_meaning(
        path in "(/(carbon|services|echo|t|x|[.]{1,2}|%2[eE]|%2[eE][.]|%[46][0-9a-f]|%[cC]3%[bB]c|%2[05bf]|%25[0-9]|a%7e|)(;|;x=%2f|;y|;jsessionid=A1[.](n|js))?){0,6}",
    ) {
        forwarded_means_the_same(&classifiers(), &path)?;
    }

    #[test]
    fn a_host_matches_in_any_case_with_any_port(host in "[a-z0-9]{1,10}(\\.[a-z0-9]{1,10}){0,3}", port in 0..65536_u32) {
        let classifier = Classifier::new(&config(vec![cluster("x", Product::Esb, &host, "m")]));
        for written in [host.clone(), host.to_uppercase(), format!("{host}."), format!("{host}:{port}")] {
            prop_assert!(classifier.classify(&On::WorkerPass.facts(written.as_bytes(), b"/x")).is_ok(), "{written}");
        }
        let longer = format!("{host}x");
        prop_assert!(classifier.classify(&On::WorkerPass.facts(longer.as_bytes(), b"/x")).is_err());
    }
}
