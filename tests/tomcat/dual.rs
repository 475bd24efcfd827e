//! The dual pattern: one node is manager and worker, all others are workers. It takes two balancers, one in front of
//! each role, or one with a listener for each.

use crate::fleet::{Fleet, fleet};
use crate::support::curl::Curl;
use crate::support::elb::Elb;
use crate::support::load::count_by_node;
use crate::support::tomcat::Connector;
use crate::support::topology::{CONSOLE_HOST, HOST, Topology};

const CONSOLE: &str = "/carbon/admin/index.jsp";

fn dual(fleet: &Fleet) -> Topology {
    fleet.topology("dual", "manager, worker", Connector::Http)
}

/// What has to hold, whoever has the listeners.
fn assert_dual(fleet: &Fleet, public: &Elb, internal: &Elb) {
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let at = |address| Curl { address, ca: &fleet.edge.certificate, version: option };
        let web = at(public.address("web"));
        let answers = web.get_all(HOST, &["/services/echo"; 80], &[]);
        assert!(answers.iter().all(|answer| answer.version == version));
        let echoes: Vec<_> = answers.iter().map(|answer| answer.response.echo()).collect();
        let counts = count_by_node(echoes.iter().map(|echo| echo.node()));
        // The dual node is a worker like the others; weights 1, 2, 1, so one cycle is four requests.
        for (node, expected) in [("m1", 20_usize), ("w1", 40), ("w2", 20)] {
            assert!(counts.get(node).copied().unwrap_or(0).abs_diff(expected) <= 2, "{version}: {counts:?}");
        }
        for answer in at(internal.address("console")).get_all(CONSOLE_HOST, &[CONSOLE; 20], &[]) {
            assert_eq!(answer.response.echo().node(), "m1", "only the dual node manages");
        }
        for host in [HOST, CONSOLE_HOST] {
            let answer = web.get(host, CONSOLE, &[]);
            assert!(matches!(answer.response.status, 404 | 421), "the console in public: {answer:?}");
        }
        let admin = web.get(HOST, "/services/UserAdmin", &[]);
        assert_eq!(admin.response.status, 404, "an admin service in public, which the dual node would answer");
    }
}

#[test]
fn one_balancer_with_a_listener_for_each_role() {
    let fleet = fleet();
    let elb = Elb::start_ready(&dual(&fleet));
    assert_dual(&fleet, &elb, &elb);
}

#[test]
fn two_balancers_one_for_each_role() {
    let fleet = fleet();
    let all = dual(&fleet);
    let only = |role: &str| {
        let others: Vec<&str> = match role {
            "worker" => vec!["console", "clear-console"],
            _ => vec!["web", "api", "clear", "clear-api"],
        };
        others.into_iter().fold(all.clone(), Topology::without_listener)
    };
    let (public, internal) = (Elb::start_ready(&only("worker")), Elb::start_ready(&only("manager")));
    assert_dual(&fleet, &public, &internal);
}
