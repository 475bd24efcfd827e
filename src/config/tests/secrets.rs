//! Keys and tokens: where they come from, mistakes in them, and that nothing shows them.

use super::refused::{GOOD, one_problem};
use super::*;

fn exposed(secrets: &[Secret]) -> Vec<&str> {
    secrets.iter().map(|secret| std::str::from_utf8(secret.expose()).unwrap()).collect()
}

/// [`GOOD`] with further lines at its end, the first of them 27.
fn with(lines: &str) -> String {
    format!("{GOOD}{lines}\n")
}

#[test]
fn keys_come_from_the_environment_or_from_a_file() {
    let folder = Folder::new();
    folder.write("keys", &format!("# made on Monday\n\n  {KEY}\r\n{}\n", "o".repeat(32)), 0o640);
    let old = environment("OLD_KEY").unwrap();
    let cases: [(&str, &[&str]); 4] = [
        ("keys: ['${KEY}', '${OLD_KEY}']", &[KEY, &old]),
        ("keys: '${KEY}'", &[KEY]),
        ("keys: [\"${KEY}\"]", &[KEY]),
        ("key_file: keys", &[KEY, &"o".repeat(32)]),
    ];
    for (keys, expected) in cases {
        let loaded = parse_in(&with(&format!("affinity: {{ {keys} }}")), &folder.0).unwrap();
        assert_eq!(loaded.warnings, [], "{keys}");
        assert_eq!(exposed(&loaded.config.affinity_keys), expected, "{keys}");
        let printed = effective(&loaded.config);
        assert!(!printed.contains(KEY), "{printed}");
        assert_eq!(parse_in(&printed, Path::new("/nowhere")).unwrap().config, loaded.config, "{printed}");
    }
    assert_eq!(accepted(GOOD).config.affinity_keys, []);
    assert!(!effective(&accepted(GOOD).config).contains("key_file"));
}

#[test]
fn tokens_come_from_the_environment_or_from_a_file() {
    let folder = Folder::new();
    for tokens in ["tokens: ['${TOKEN}']", "token_file: tokens"] {
        let text = GOOD.replace("admin: { ", &format!("admin: {{ {tokens}, "));
        let loaded = parse_in(&text, &folder.0).unwrap();
        assert_eq!(loaded.warnings, [], "{tokens}");
        let tokens = &loaded.config.admin.tokens;
        assert_eq!(tokens.iter().map(|token| token.secret.expose()).collect::<Vec<_>>(), [TOKEN.as_bytes()]);
        assert_eq!(tokens[0].scope, Scope::unlimited());
        let printed = effective(&loaded.config);
        assert!(!printed.contains(TOKEN), "{printed}");
        assert_eq!(parse_in(&printed, Path::new("/nowhere")).unwrap().config, loaded.config, "{printed}");
    }
    assert_eq!(accepted(GOOD).config.admin.tokens, []);
}

#[test]
fn mistakes_in_keys() {
    let long = "x".repeat(40);
    let literal = format!("affinity: {{ keys: [{long}] }}");
    let with_default = format!("affinity: {{ keys: ['${{NONE:-{long}}}'] }}");
    let rows = [
        ("affinity: {}", "affinity: no keys; allowed: keys or key_file"),
        ("affinity: cookie", "affinity: found \"cookie\"; allowed: a map"),
        ("affinity: { keys: [] }", "affinity.keys: no keys; allowed: 1 to 16 keys"),
        (&literal, "keys[0]: a key that stands in the configuration file; allowed: \"${NAME}\" with the name of"),
        (&with_default, "keys[0]: a key that stands in the configuration file"),
        ("affinity: { keys: ['x${KEY}'] }", "keys[0]: a key that stands in the configuration file"),
        ("affinity: { keys: ['${SHORT}'] }", "keys[0]: the environment variable SHORT has 7 characters; allowed: keys"),
        ("affinity: { keys: ['${LINES}'] }", "the environment variable LINES has a character that a key may not have"),
        ("affinity: { keys: ['${PADDED}'] }", "variable PADDED has a character that a key may not have; allowed: keys"),
        ("affinity: { keys: ['${NONE}'] }", "keys[0]: the environment variable NONE is not defined"),
        ("affinity: { keys: ['${KEY}', '${KEY}'] }", "keys[1]: is in the list twice; allowed: each key once"),
        ("affinity: { keys: { a: '${KEY}' } }", "keys: found a map; allowed: a list of keys"),
        ("affinity: { key_file: none }", "affinity.key_file: /nowhere/none can't be read: "),
        ("affinity: { key_file: /etc }", "key_file: /etc can't be read: it is not a file"),
        ("affinity: { keys: ['${KEY}'], key_file: x }", "key_file: keys are given, too; allowed: keys or key_file"),
    ];
    for (lines, fragment) in rows {
        one_problem("server: {", &format!("{lines}\nserver: {{"), 26, fragment, Severity::Error);
    }
}

#[test]
fn mistakes_in_tokens() {
    let rows = [
        ("tokens: []", "admin.tokens: no tokens; allowed: 1 to 64 tokens"),
        ("tokens: [letmein]", "admin.tokens[0]: a token that stands in the configuration file"),
        ("tokens: ['${SHORT}']", "tokens[0]: the environment variable SHORT has 7 characters; allowed: tokens of 16"),
        // Spaces.
        ("tokens: ['${KEY}']", "the environment variable KEY has a character that a token may not have"),
        ("token_file: none", "admin.token_file: /nowhere/none can't be read"),
        (
            "tokens: ['${TOKEN}'], token_file: x",
            "admin.token_file: tokens are given, too; allowed: tokens or token_file",
        ),
    ];
    for (key, fragment) in rows {
        one_problem("admin: { ", &format!("admin: {{ {key}, "), 25, fragment, Severity::Error);
    }
}

#[test]
fn a_token_has_a_scope() {
    let scope = |tokens: &str| {
        let text = GOOD.replace("admin: { ", &format!("admin: {{ tokens: {tokens}, "));
        let loaded = accepted(&text);
        assert_eq!(loaded.warnings, [], "{tokens}");
        let printed = effective(&loaded.config);
        assert_eq!(accepted(&printed).config, loaded.config, "{printed}");
        let scopes = loaded.config.admin.tokens.into_iter().map(|token| {
            let words: Vec<_> = token.scope.may.iter().map(|may| may.as_str()).collect();
            let pools: Vec<_> = token.scope.pools.iter().map(ToString::to_string).collect();
            format!("{} in {}", words.join(" "), pools.join(" "))
        });
        scopes.collect::<Vec<_>>().join(", ")
    };
    let unlimited = "read operate register in */*";
    for (tokens, expected) in [
        ("'${TOKEN}'", unlimited),
        ("['${TOKEN}']", unlimited),
        ("[{ token: '${TOKEN}', may: [read, operate, register], pools: ['*/*'] }]", unlimited),
        // Managers have to be named.
        ("[{ token: '${TOKEN}', may: [register] }]", "register in */worker"),
        ("[{ token: '${TOKEN}', may: [read, operate], pools: ['esb/*'] }]", "read operate in esb/*"),
        (
            "[{ token: '${TOKEN}', may: [operate], pools: [esb/manager, '*/worker'] }]",
            "operate in esb/manager */worker",
        ),
        ("['${OTHER_TOKEN}', { token: '${TOKEN}', may: [read] }]", "read operate register in */*, read in */worker"),
    ] {
        assert_eq!(scope(tokens), expected, "{tokens}");
    }
}

#[test]
fn mistakes_in_scopes() {
    let rows = [
        ("{ may: [read] }", "tokens[0].token: is missing; allowed: \"${NAME}\" with the name of"),
        (
            "{ token: letmein-letmein-letmein, may: [read] }",
            "tokens[0].token: a token that stands in the configuration",
        ),
        ("{ token: '${SHORT}', may: [read] }", "tokens[0].token: the environment variable SHORT has 7 characters"),
        ("{ token: '${TOKEN}' }", "tokens[0].may: is missing; allowed: a list of read, operate, register"),
        ("{ token: '${TOKEN}', may: [] }", "tokens[0].may: the token is good for nothing; allowed: at least one of"),
        ("{ token: '${TOKEN}', may: read }", "tokens[0].may: found \"read\"; allowed: a list of permissions"),
        (
            "{ token: '${TOKEN}', may: [registr] }",
            "tokens[0].may[0]: \"registr\" is not known (did you mean \"register\"?); allowed: read, operate, register",
        ),
        ("{ token: '${TOKEN}', may: ['${TOKEN}'] }", "tokens[0].may[0]: \"${TOKEN}\" is not known; allowed: read"),
        (
            "{ token: '${TOKEN}', may: [read, read] }",
            "tokens[0].may[1]: is in the list twice; allowed: each entry once",
        ),
        ("{ token: '${TOKEN}', may: [read], pools: [] }", "tokens[0].pools: no pools; allowed: at least one pool"),
        (
            "{ token: '${TOKEN}', may: [read], pools: [esb] }",
            "tokens[0].pools[0]: \"esb\" is not a pool; allowed: CLUSTER/ROLE, such as esb/worker",
        ),
        ("{ token: '${TOKEN}', may: [read], pools: ['${TOKEN}'] }", "pools[0]: \"${TOKEN}\" is not a pool"),
        ("{ token: '${TOKEN}', may: [read], pools: [esb/workers] }", "pools[0]: \"esb/workers\" is not a pool"),
        ("{ token: '${TOKEN}', may: [read], pools: ['e*/worker'] }", "pools[0]: \"e*/worker\" is not a pool"),
        ("{ token: '${TOKEN}', may: [read], pools: [is/worker] }", "pools[0]: there is no cluster is; allowed: esb"),
        ("{ token: '${TOKEN}', may: [read], pool: [esb/*] }", "pool: unknown key (did you mean \"pools\"?); allowed:"),
        (
            "{ token: '${TOKEN}', may: [read] }, '${TOKEN}'",
            "admin.tokens[1]: is in the list twice; allowed: each token once",
        ),
    ];
    for (token, fragment) in rows {
        one_problem("admin: { ", &format!("admin: {{ tokens: [{token}], "), 25, fragment, Severity::Error);
    }
}

#[test]
fn mistakes_in_files() {
    let folder = Folder::new();
    let key = |letter: char| letter.to_string().repeat(32);
    let many: String = (0..17).map(|number| format!("{number:032}\n")).collect();
    let cases = [
        (String::new(), "no keys in "),
        ("# nothing\n\n".to_owned(), "no keys in "),
        ("# nothing\nhunter2\n".to_owned(), "line 2 of "),
        (format!("{}\nx\u{7}{}\n", key('a'), key('b')), "has a character that a key may not have"),
        (format!("{}\n{}\n{}\n", key('a'), key('b'), key('a')), "is the same as line 1; allowed: each key once"),
        ("x".repeat(1025), "has 1025 characters; allowed: keys of 32 to 1024 characters"),
        (many, "more than 16 keys in "),
        ("x".repeat(200_000), "it is larger than 131072 bytes"),
    ];
    for (text, fragment) in cases {
        folder.write("keys", &text, 0o600);
        let problems = parse_in(&with("affinity: { key_file: keys }"), &folder.0).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems}");
        let shown = problems.to_string();
        assert!(shown.starts_with("line 27: affinity.key_file: ") && shown.contains(fragment), "{fragment}: {shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("xxxxxxxx"), "{shown}");
    }
}

#[test]
fn whoever_leaves_a_secret_open_is_warned() {
    let folder = Folder::new();
    folder.write("tokens", &format!("{TOKEN}\n"), 0o644);
    let text = GOOD.replace("admin: { ", "admin: { token_file: tokens, ");
    let warnings = parse_in(&text, &folder.0).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].to_string().contains("admin.token_file: every user of this machine can read "), "{warnings:?}");
    let open = "{ tokens: '${TOKEN}', allow: [10.0.0.0/8], bind: \"10.0.0.1:9601\" }";
    let fragment = "admin.bind: tokens cross the network in clear text at 10.0.0.1:9601";
    one_problem("{ bind: \"127.0.0.1:9601\" }", open, 25, fragment, Severity::Warning);
}

#[test]
fn no_problem_shows_what_a_variable_holds() {
    for (replace, by) in [
        ("server: { grace: 30s }", "affinity: '${KEY}'"),
        ("server: { grace: 30s }", "affinity: { keys: ['${SHORT}'] }"),
        ("server: { grace: 30s }", "affinity: { keys: [['${KEY}']] }"),
        ("server: { grace: 30s }", "server: '${TOKEN}'"),
        ("{ bind: \"127.0.0.1:9601\" }", "'${TOKEN}'"),
        ("{ bind: \"127.0.0.1:9601\" }", "{ tokens: { a: '${TOKEN}' } }"),
        ("{ bind: \"127.0.0.1:9601\" }", "{ tokens: ['${TOKEN}/${KEY}'] }"),
    ] {
        let shown = parse_text(&GOOD.replace(replace, by)).unwrap_err().to_string();
        for secret in [KEY, TOKEN, "hunter2"] {
            assert!(!shown.contains(secret), "{by}: {shown}");
        }
    }
}
