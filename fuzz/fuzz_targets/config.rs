//! The loader: it answers any text with a configuration or with problems. What it loads, it prints so that it loads again
//! as the same.
#![no_main]

use std::path::Path;

use carbon_elb::config::{Severity, effective, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // The seeds' certificates are files of this folder.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    match parse(text, folder) {
        Ok(loaded) => {
            assert!(
                loaded.warnings.iter().all(|problem| problem.severity == Severity::Warning),
                "{:?}",
                loaded.warnings
            );
            let printed = effective(&loaded.config);
            let again = parse(&printed, folder).unwrap_or_else(|problems| panic!("{problems}\n{printed}"));
            assert_eq!(again.config, loaded.config, "{printed}");
        }
        Err(problems) => {
            assert!(problems.has_errors(), "refused without an error");
            assert!(problems.iter().all(|problem| !problem.to_string().contains('\n')), "{problems}");
        }
    }
});
