//! What nodes report of their load: nothing panics, what is believed is a share, and what is logged is harmless.
#![no_main]

use carbon_elb::report::{agent, orca};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(load) = orca::parse(input) {
        assert!(load.utilisation >= 0.0 && load.utilisation.is_finite());
    }
    let Ok(reply) = agent::parse(input) else {
        assert!(!input.iter().take(agent::LONGEST).any(|byte| matches!(byte, b'\r' | b'\n')));
        return;
    };
    assert!(reply.weight.is_none_or(|weight| weight <= 25_600) && reply.max_in_flight != Some(0));
    assert!(reply.unknown.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_graphic())));
    assert!(reply.description.iter().all(|text| reply.up.is_some() && !text.contains(char::is_control)));
    let mut state = agent::AgentState::default();
    state.apply(&reply);
    assert!(!state.apply(&reply), "a reply that comes again changes nothing");
});
