//! Who may change a member is asked in the step of the change.

use super::*;

/// Whoever may speak for some roles.
fn of(roles: &[Role]) -> impl Fn(&[Role]) -> Result<(), Vec<Role>> {
    move |known| {
        let foreign: Vec<Role> = known.iter().filter(|role| !roles.contains(role)).copied().collect();
        if foreign.is_empty() { Ok(()) } else { Err(foreign) }
    }
}

#[test]
fn nobody_changes_a_member_between_the_question_and_the_change() {
    let membership = Membership::new(config(CLUSTERS), Arc::new(Metrics::new().unwrap()));
    let (esb, id, now) = (name("esb"), name("wk-7"), Instant::now());
    let asked = std::cell::RefCell::new(Vec::new());
    let may = |roles: &[Role]| {
        assert!(membership.members.is_locked(), "somebody else could change it: {roles:?}");
        asked.borrow_mut().push(roles.to_vec());
        Ok::<(), ()>(())
    };
    membership.register(&esb, &id, &at("10.0.0.7"), now, may).unwrap();
    membership.renew(&esb, &id, None, now, may).unwrap();
    membership.set_weight(&esb, &id, Some(2), may).unwrap();
    membership.set_weight(&esb, &name("mgr-1"), Some(2), may).unwrap();
    membership.deregister(&esb, &id, now, may).unwrap();
    let [worker, manager] = [vec![Role::Worker], vec![Role::Manager]];
    let expected = [vec![], worker.clone(), worker.clone(), manager, worker];
    assert_eq!(*asked.borrow(), expected, "what the member was at each change");
}

#[test]
fn who_may_not_speak_for_a_member_changes_nothing() {
    let membership = Membership::new(config(CLUSTERS), Arc::new(Metrics::new().unwrap()));
    let (esb, id, now) = (name("esb"), name("wk-7"), Instant::now());
    membership.register(&esb, &id, &at("10.0.0.7"), now, of(&[Role::Worker])).unwrap();
    let (before, shown) = (membership.effective(), membership.shown(&esb, &id, now));
    let may = || of(&[Role::Manager]);
    let not_theirs = || Denied::NotTheirs(vec![Role::Worker]);
    let later = now + SECOND;
    assert_eq!(membership.register(&esb, &id, &at("10.0.0.8"), later, may()).unwrap_err(), not_theirs());
    assert_eq!(membership.renew(&esb, &id, Some(9 * SECOND), later, may()).unwrap_err(), not_theirs());
    assert_eq!(membership.deregister(&esb, &id, later, may()).unwrap_err(), not_theirs());
    assert_eq!(membership.set_weight(&esb, &id, Some(9), may()).unwrap_err(), not_theirs());
    assert_eq!(membership.effective(), before);
    assert_eq!(membership.shown(&esb, &id, now), shown);
    // Whom there is nobody to speak for, nobody is asked about.
    let unknown = membership.renew(&esb, &name("wk-8"), None, now, may()).unwrap_err();
    assert_eq!(unknown, Denied::Refused(Refusal::UnknownMember));
}
