//! Real Tomcat servers as nodes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::TempDir;
use super::certs::Certificate;
use super::client::get;
use super::process::Process;

const HOME: &str = "/usr/share/tomcat10";
const INSTALL: &str =
    "these tests need a real Tomcat 10: apt-get install tomcat10 openjdk-17-jre-headless openssl curl";
const KEYSTORE_PASSWORD: &str = "changeit";

/// The connectors of `server.xml`, by their place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connector {
    /// Clear text, any number of requests for each connection.
    Http,
    /// TLS, any number of requests for each connection.
    Https,
    /// Clear text with Tomcat's own defaults.
    Plain,
    /// Clear text, closes idle connections at once.
    Hasty,
}

const CONNECTORS: [(Connector, &str); 4] = [
    (Connector::Http, "{http}"),
    (Connector::Https, "{https}"),
    (Connector::Plain, "{plain}"),
    (Connector::Hasty, "{hasty}"),
];

/// The web applications of a Tomcat, and what they are told.
#[derive(Debug, Clone)]
pub(crate) struct Applications {
    /// Context paths, each with the folder of its application below `tests/tomcat`.
    pub(crate) contexts: Vec<(String, &'static str)>,
    /// System properties that the pages read.
    pub(crate) properties: Vec<(&'static str, String)>,
    /// Paths to be asked for at the start: the first request for a page compiles it, which takes longer than any later.
    pub(crate) pages: Vec<String>,
}

impl Applications {
    /// Console and services, as far as the tests of routing need them.
    fn of_a_carbon_node() -> Applications {
        let pages = ["/services/echo", "/services/Version", "/carbon/admin/index.jsp", "/carbon/admin/login.jsp"];
        Applications {
            contexts: vec![("/carbon".into(), "webapps/carbon"), ("/services".into(), "webapps/services")],
            properties: Vec::new(),
            pages: pages.map(String::from).to_vec(),
        }
    }

    /// The contexts for `server.xml`.
    fn contexts_xml(&self) -> String {
        let context = |(path, folder): &(String, &str)| {
            let folder = sources().join(folder);
            // Looks for tag libraries in no jar: saves half of the start.
            let scanner = "<JarScanner scanClassPath=\"false\" scanManifest=\"false\" />";
            format!("<Context path=\"{path}\" docBase=\"{}\">{scanner}</Context>\n", folder.display())
        };
        self.contexts.iter().map(context).collect()
    }
}

/// A Tomcat with the web applications of a Carbon node. Dropping it kills it.
pub(crate) struct Tomcat {
    id: String,
    role: String,
    applications: Applications,
    /// `CATALINA_BASE`.
    base: TempDir,
    certificate: Certificate,
    /// By [`Connector`]; all 0 before the first start.
    ports: [u16; 4],
    process: Option<Process>,
}

impl Tomcat {
    /// Prepares a node; [`Tomcat::begin`] starts it.
    #[track_caller]
    pub(crate) fn new(id: &str, role: &str) -> Tomcat {
        Tomcat::with(id, role, Applications::of_a_carbon_node())
    }

    /// Prepares a node with other applications.
    #[track_caller]
    pub(crate) fn with(id: &str, role: &str, applications: Applications) -> Tomcat {
        assert!(Path::new(HOME).join("bin/bootstrap.jar").exists(), "{HOME} is not there; {INSTALL}");
        let base = TempDir::new(&format!("tomcat-{id}"));
        for dir in ["conf", "temp", "logs", "work", "webapps"] {
            std::fs::create_dir(base.path().join(dir)).expect("cannot make a directory of CATALINA_BASE");
        }
        for (from, to) in [
            (Path::new(HOME).join("etc/catalina.properties"), "conf/catalina.properties"),
            (sources().join("web.xml"), "conf/web.xml"),
        ] {
            std::fs::copy(&from, base.path().join(to))
                .unwrap_or_else(|e| panic!("cannot copy {}: {e}; {INSTALL}", from.display()));
        }
        let certificate = Certificate::self_signed(base.path(), id, "DNS:localhost,IP:127.0.0.1");
        certificate.to_pkcs12(&base.path().join("node.p12"), KEYSTORE_PASSWORD);
        Tomcat { id: id.into(), role: role.into(), applications, base, certificate, ports: [0; 4], process: None }
    }

    /// The id of the node.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The PEM file of the node's self-signed certificate.
    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate.certificate
    }

    /// Where a connector listens.
    pub(crate) fn address(&self, connector: Connector) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port(connector)).into()
    }

    /// The port of a connector.
    pub(crate) fn port(&self, connector: Connector) -> u16 {
        self.ports[connector as usize]
    }

    /// Starts it; [`Tomcat::finish_start`] waits for it. Two steps, so that several start at a time.
    #[track_caller]
    pub(crate) fn begin(&mut self) {
        self.write_server_xml();
        let base = self.base.path().display();
        let mut java = Command::new("java");
        // Little memory and a quick start count for more than peak speed here.
        java.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"])
            .arg("-Djava.security.egd=file:/dev/urandom")
            .arg(format!("-Dcatalina.home={HOME}"))
            .arg(format!("-Dcatalina.base={base}"))
            .arg(format!("-Djava.io.tmpdir={base}/temp"))
            // What the pages answer.
            .arg(format!("-Delb.node={}", self.id))
            .arg(format!("-Delb.role={}", self.role))
            .args(self.applications.properties.iter().map(|(name, value)| format!("-D{name}={value}")))
            .args(["-classpath", &format!("{HOME}/bin/bootstrap.jar:{HOME}/bin/tomcat-juli.jar")])
            .args(["org.apache.catalina.startup.Bootstrap", "start"])
            // A developer's settings would change what is tested.
            .env_remove("JAVA_TOOL_OPTIONS")
            .env_remove("_JAVA_OPTIONS");
        assert!(Command::new("java").arg("-version").output().is_ok(), "there is no java; {INSTALL}");
        self.process = Some(Process::start(&format!("tomcat {}", self.id), &mut java));
    }

    /// Waits until it has started and every page is compiled.
    #[track_caller]
    pub(crate) fn finish_start(&mut self) {
        let process = self.process.as_ref().expect("begin comes first");
        process.stderr.wait_for("Server startup in", |line| line.contains("Server startup in").then_some(()));
        if self.ports == [0; 4] {
            let lines = process.stderr.all();
            for (connector, name) in CONNECTORS {
                let port = lines.iter().find_map(|line| chosen_port(line, connector as usize + 1));
                self.ports[connector as usize] =
                    port.unwrap_or_else(|| panic!("tomcat does not tell the port of {name}:\n{}", process.output()));
            }
        }
        for path in &self.applications.pages {
            let status = get(self.address(Connector::Http), "node", path).status;
            assert!(matches!(status, 200 | 302), "{path} of {} answers {status}\n{}", self.id, process.output());
        }
    }

    /// Such as `10.1.6`, as it says at its start.
    #[track_caller]
    pub(crate) fn version(&self) -> String {
        let process = self.process.as_ref().expect("it runs");
        process.stderr.wait_for("its version", |line| {
            let (_, version) = line.split_once("[Apache Tomcat/")?;
            version.split([' ', ']']).next().map(str::to_owned)
        })
    }

    /// Starts it again on the same ports.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.begin();
        self.finish_start();
    }

    /// Stops it as an operator does, and waits for its end.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("it does not run");
        process.signal("TERM");
        process.wait(Duration::from_secs(30));
    }

    /// Kills it as a crash does, and waits for its end.
    #[track_caller]
    pub(crate) fn crash(&mut self) {
        self.process.take().expect("it does not run").kill();
    }

    /// Whether it has been started and not stopped.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    fn write_server_xml(&self) {
        let template = sources().join("server.xml");
        let template = std::fs::read_to_string(&template).expect("cannot read tests/tomcat/server.xml");
        let ports = CONNECTORS
            .iter()
            .fold(template, |xml, (connector, name)| xml.replace(name, &self.ports[*connector as usize].to_string()));
        let xml = ports
            .replace("{keystore}", &self.base.path().join("node.p12").to_string_lossy())
            .replace("{password}", KEYSTORE_PASSWORD)
            .replace("{contexts}", &self.applications.contexts_xml());
        self.base.write("conf/server.xml", &xml);
    }
}

/// Templates and web applications.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tomcat")
}

/// `Starting ProtocolHandler ["http-nio-127.0.0.1-auto-2-40001"]` → 40001 for the second connector.
fn chosen_port(line: &str, number: usize) -> Option<u16> {
    let (_, rest) = line.split_once("Starting ProtocolHandler")?;
    let (_, rest) = rest.split_once(&format!("-auto-{number}-"))?;
    rest.split('"').next()?.parse().ok()
}
