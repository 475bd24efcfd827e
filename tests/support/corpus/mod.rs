//! Management URLs as an attacker would write them: mutated so that a balancer may read something else in them than the
//! server behind it. Seeded: the same seed gives the same list, and a longer list begins with the shorter one.

mod mutations;
pub(crate) mod ordinary;

use std::collections::HashSet;

use self::mutations::MUTATIONS;

/// What a node serves for managers only, as context paths. The balancer's own table is not looked at.
#[rustfmt::skip] // one for each line would be forty
pub(crate) const MANAGEMENT: &[&str] = &[
    "/carbon", "/admin", "/publisher", "/console", "/registry", "/resource", "/fileupload", "/filedownload", "/acs",
    "/mexut", "/lsp", "/api/am/admin", "/api/am/publisher", "/api/am/devops", "/api/am/gateway", "/api/server/v1",
    "/api/identity/config-mgt", "/internal/data/v1", "/keymanager-operations", "/client-registration",
    "/usage-data-receiver", "/endpoints", "/identity/register", "/identity/connect/register", "/wso2/scim",
    "/management", "/metric-service",
];

/// Pages below some of them.
const PAGES: &[&str] = &[
    "/publisher/apis",
    "/console/login",
    "/fileupload/toolsAny",
    "/filedownload?id=1",
    "/api/am/publisher/v4/apis",
    "/api/am/admin/v4/throttling/policies",
    "/api/server/v1/applications",
    "/internal/data/v1/apis",
    "/keymanager-operations/dcr/register",
    "/endpoints/throttleEventReceiver",
    "/identity/connect/register",
    "/management/apis?apiName=x",
];

/// Admin services: some with `Admin` in the name, and those that the pattern `*Admin*` does not find.
#[rustfmt::skip] // as above
pub(crate) const ADMIN_SERVICES: &[&str] = &[
    "UserAdmin", "AuthenticationAdmin", "ServerAdmin", "ProxyServiceAdmin", "TenantMgtAdminService", "APIGatewayAdmin",
    "FileUploadService", "FileDownloadService", "ServerRolesManager", "CarbonAppUploader", "LogViewer",
    "RemoteLoggingConfig", "EventBrokerService", "JrxmlFileUploader", "ExternalTryitService", "Java2WSDLService",
    "WSDL2CodeService", "MediationLibraryUploader", "DataServiceFileUploader", "WSRegistryService",
    "HandlerManagementService", "ThemeMgtService", "RemoteUserStoreManagerService", "UserInformationRecoveryService",
    "OAuth2TokenValidationService", "IdentityApplicationManagementService", "IdentityProviderMgtService",
    "ClaimManagementService",
];

/// Management as its users write it: what is mutated. Each of them reaches it when sent to a node.
pub(crate) fn bases() -> Vec<Vec<u8>> {
    [console(), pages(), services()].concat()
}

/// What everybody knows of.
fn console() -> Vec<Vec<u8>> {
    let paths = ["/carbon", "/carbon/", "/carbon/admin/login.jsp", "/carbon/product/about.html"];
    let of_tenant = |path: &str| format!("/t/wso2.com{path}").into_bytes();
    paths.iter().flat_map(|path| [path.as_bytes().to_vec(), of_tenant(path)]).collect()
}

fn pages() -> Vec<Vec<u8>> {
    let mut pages: Vec<String> = MANAGEMENT.iter().chain(PAGES).map(|&path| path.to_owned()).collect();
    pages.extend(MANAGEMENT.iter().map(|path| format!("/t/wso2.com{path}/")));
    pages.into_iter().map(String::into_bytes).collect()
}

/// Every form in which an admin service has an address.
fn services() -> Vec<Vec<u8>> {
    let transports = ["HttpsSoap11", "HttpsSoap12", "HttpSoap11", "Https", "Http"];
    let forms = |(name, transport): (&&str, &&str)| {
        let endpoint = format!("{name}.{name}{transport}Endpoint");
        [
            format!("/services/{name}"),
            format!("/services/{name}/getVersion"),
            format!("/services/{name}?wsdl"),
            format!("/services/{endpoint}"),
            format!("/services/{endpoint}/getVersion"),
            format!("/t/wso2.com/services/{name}"),
            format!("/services/t/wso2.com/{name}"),
        ]
    };
    ADMIN_SERVICES.iter().zip(transports.iter().cycle()).flat_map(forms).map(String::into_bytes).collect()
}

/// `count` distinct mutated management URLs: request targets as raw bytes, queries included.
pub(crate) fn mutated(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let (console, pages, services) = (console(), pages(), services());
    let mut rng = Rng(seed);
    // None of them is sent as it is: the list is about mutations.
    let mut seen: HashSet<Vec<u8>> = bases().into_iter().collect();
    let mut targets = Vec::with_capacity(count);
    for _ in 0..100 * (count + 1) {
        if targets.len() == count {
            return targets;
        }
        let kind = rng.weighted(&[(1, &console), (2, &pages), (3, &services)]);
        let mut target = rng.pick(kind).clone();
        for _ in 0..rng.depth() {
            rng.weighted(MUTATIONS)(&mut rng, &mut target);
        }
        if target.len() <= LONGEST && seen.insert(target.clone()) {
            targets.push(target);
        }
    }
    panic!("the mutations give no {count} distinct targets, only {}", targets.len());
}

/// Longer ones say nothing new, and servers refuse them for their length only.
const LONGEST: usize = 3_000;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).expect("it fits")).expect("it is below a usize")
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn weighted<T: Copy>(&mut self, from: &[(usize, T)]) -> T {
        let mut left = self.below(from.iter().map(|(weight, _)| weight).sum());
        for &(weight, value) in from {
            if left < weight {
                return value;
            }
            left -= weight;
        }
        unreachable!("the weights add up")
    }

    /// How many mutations come one upon the other: one most often, five at most.
    fn depth(&mut self) -> usize {
        self.weighted(&[(40, 1), (26, 2), (17, 3), (10, 4), (7, 5)])
    }
}
