//! URLs that the clients of a Carbon cluster really send, and that have to arrive as they were sent.

use std::collections::HashSet;

/// The services that the operator allows.
pub(crate) const SERVICES: &[&str] = &["echo", "StockQuoteProxy", "Order-Service.v2"];

/// Where the operator's applications and APIs are, besides what the product brings.
#[rustfmt::skip] // one for each line would be long
pub(crate) const APPLICATIONS: &[&str] = &[
    "/pizzashack", "/weather", "/odata", "/orders", "/carbonara", "/administration", "/endpoint", "/webapps",
    "/myservices", "/scim", "/api/petstore",
];

/// Names as they are written in URLs: addresses, encoded letters, what RFC 3986 leaves as it is.
#[rustfmt::skip] // as above
const NAMES: &[&str] = &[
    "alice", "bob@example.com", "bob%40example.com", "user@sub.wso2.com", "j%C3%BCrgen", "J%c3%bcrgen%20M",
    "%E6%97%A5%E6%9C%AC%E8%AA%9E", "%F0%9F%8D%95", "O'Brien", "a+b", "a%2Bb", "x,y,z", "(a,b)", "$count", "~admin",
    "50%25%20off", "100%25", "what%3F", "no%231", "key=value", "a&b", "a%26b", "v1.0.0", "2024-01-31T10:00:00Z",
    "urn:uuid:7b2f0a36", "%22quoted%22", "*", "!", "PRIMARY%7Calice", "%7Bid%7D", "a%5Bb%5D", "Admin", "carbon",
    "caf%C3%A9%20%E2%82%AC", "...", "a..b", ".hidden", "_", "-",
];

/// Domains of tenants.
const TENANTS: &[&str] = &["wso2.com", "carbon.super", "a-b.example.org", "foo_bar", "x"];

/// Conditions of SCIM filters, encoded in the ways that clients do.
#[rustfmt::skip] // as above
const FILTERS: &[&str] = &[
    "userName+eq+%22alice%22", "userName%20eq%20%22bob@example.com%22", "userName+eq+bob%40example.com",
    "name.familyName+co+%22O'Brien%22", "emails.value%20sw%20%22a%2Bb%22", "meta.lastModified+gt+%222024-01-31T10:00:00Z%22",
    "userName%20sw%20%22j%C3%BC%22%20and%20(active%20eq%20true%20or%20title%20pr)",
    "urn:ietf:params:scim:schemas:core:2.0:User:userName+eq+%22x%22",
    "urn%3Aietf%3Aparams%3Ascim%3Aschemas%3Aextension%3Aenterprise%3A2.0%3AUser%3Amanager.value+eq+%22%2F%22",
    "groups+eq+Internal/everyone", "groups+eq+Application%2Fadmins", "userName+co+%25", "userName+eq+PRIMARY%2Falice",
];

/// OData system queries.
#[rustfmt::skip] // as above
const ODATA: &[&str] = &[
    "$filter=Price%20gt%2020", "$filter=Name%20eq%20'Milk'", "$filter=Name+eq+'O''Brien'", "$select=Name,Price",
    "$orderby=Name%20desc,Price", "$top=5&$skip=10&$count=true", "$expand=Orders($filter=Amount%20lt%20100;$top=3)",
    "$filter=contains(Name,'a%26b')%20and%20year(Date)%20ge%202020", "$format=application/json;odata.metadata=full",
    "%24filter=Price%20in%20(1,2,3)", "$search=%22blue%20OR%20green%22", "$apply=groupby((City),aggregate($count%20as%20n))",
    "$filter=Path%20eq%20'../../carbon'", "$filter=Url%20eq%20'http://example.com//x'",
];

/// What else clients put in queries. No query says where a request goes, so these may look like anything.
#[rustfmt::skip] // as above
const QUERIES: &[&str] = &[
    "a=1", "a=1&b=2&a=3", "a", "a=", "=b", "&&", "q=a;b;c", "q=%3B%2F%5C", "q=a+b%20c", "q=%E2%82%AC", "q=%FF%FE",
    "q=%25", "q=%2525", "path=/carbon/admin", "path=%2Fcarbon%2F..%2Fadmin", "next=/t/wso2.com/carbon/", "x=../../..",
    "x=..;/carbon", "url=http://example.com//a/../b?c=d", "url=http%3A%2F%2Fexample.com%2F%3Fa%3Db%26c%3Dd",
    "callback=jQuery_123(x)", "sig=abc%2Bdef%2Fghi%3D%3D", "sig=abc+def/ghi==", "json=%7B%22a%22%3A%5B1,2%5D%7D",
    "date=2024-01-31T10:00:00%2B01:00", "email=user@domain.test", "email=user%40domain.test", "v=1.0.0", "x='y'",
    "x=(y)", "x=$y", "x=y,z", "x=!*~", "x=a:b@c", "services=echo", "x=/services/echo", "service=UserAdmin",
];

/// Parameters of logins.
#[rustfmt::skip] // as above
const LOGINS: &[&str] = &[
    "/oauth2/authorize?response_type=code&client_id=abc_123&redirect_uri=https%3A%2F%2Fapp.example.com%2Fcb%3Fa%3Db&scope=openid%20profile&state=xyz%3D%3D",
    "/oauth2/authorize?response_type=code&client_id=abc&redirect_uri=https://app.example.com/cb&scope=openid+email&nonce=n-0S6_WzA2Mj&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256",
    "/oauth2/authorize?redirect_uri=https%253A%252F%252Fapp.example.com%252Fcb",
    "/oauth2/token?grant_type=client_credentials",
    "/oauth2/introspect", "/oauth2/revoke", "/oauth2/jwks", "/oauth2/userinfo?schema=openid",
    "/oauth2/token/.well-known/openid-configuration",
    "/oidc/logout?id_token_hint=eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln&post_logout_redirect_uri=https%3A%2F%2Fapp.example.com%2F&state=%2Fhome%2F",
    "/commonauth?sessionDataKey=7b2f0a36-12ab&authenticators=BasicAuthenticator%3ALOCAL;SAMLSSOAuthenticator%3Aidp",
    "/commonauth?idp=LOCAL&authenticator=BasicAuthenticator&relyingParty=/carbon/admin/login.jsp",
    "/authenticationendpoint/login.do?commonAuthCallerPath=%2Fsamlsso&forceAuth=false&relyingParty=travelocity.com&tenantDomain=carbon.super",
    "/authenticationendpoint/login.do;jsessionid=0A1B2C3D.node1?sessionDataKey=1",
    "/authenticationendpoint/libs/bootstrap_3.4.1/css/bootstrap.min.css",
    "/samlsso?SAMLRequest=fZFfa8IwFMXfBb9DyXvaJtZ1BqsURRC2MabbHvYyrultDbRJzU3H%2Fv2qE%2BaDez33nt%2B5f%2BZYgKFFbKMF%2B%2Fw%3D%3D&RelayState=https%3A%2F%2Fapp.example.com%2F%3Fa%3D%252F",
    "/samlsso?spEntityID=travelocity.com@wso2.com", "/samlartresolve", "/passivests?wa=wsignin1.0&wtrealm=https%3A%2F%2Fapp%2F",
    "/logincontext?sessionDataKey=1&relyingParty=x&tenantDomain=", "/.well-known/openid-configuration",
    "/.well-known/webfinger?resource=acct%3Aalice%40example.com&rel=http://openid.net/specs/connect/1.0/issuer",
    "/accountrecoveryendpoint/recoveraccountrouter.do?callback=https%3A%2F%2Fapp%2F&isUsernameRecovery=true",
    "/identity/metadata/saml2", "/identity/saml/slo", "/favicon.ico", "/devportal/apis?offset=0&limit=10&query=name%3A%22Pizza%22",
    "/devportal/apis/7b2f0a36-12ab/overview", "/api/am/devportal/v3/apis?query=context%3A%2Fpizzashack%20status%3APUBLISHED",
    "/store/site/pages/item-info.jag?name=PizzaShackAPI&version=1.0.0&provider=admin", "/myaccount/overview",
    "/api/users/v1/me/sessions", "/api/identity/recovery/v0.9/claims?tenant-domain=carbon.super",
    "/api/identity/user/v1.0/me", "/api/identity/auth/v1.1/data/AuthRequestKey/7b2f", "/scim2/Me",
    "/scim2/ResourceTypes", "/scim2/Schemas/urn:ietf:params:scim:schemas:core:2.0:User",
];

/// All of them, distinct, the same every time. Each begins with what a worker serves on the servlet endpoint, if the
/// operator allows [`SERVICES`] and [`APPLICATIONS`].
pub(crate) fn ordinary() -> Vec<String> {
    let mut urls: Vec<String> = LOGINS.iter().map(|&url| url.to_owned()).collect();
    urls.extend(scim());
    urls.extend(services());
    urls.extend(applications());
    let mut seen = HashSet::new();
    urls.retain(|url| seen.insert(url.clone()));
    urls
}

fn scim() -> Vec<String> {
    let mut urls = Vec::new();
    for filter in FILTERS {
        for tail in
            ["", "&startIndex=1&count=10", "&attributes=userName,name.familyName,emails.value", "&domain=PRIMARY"]
        {
            urls.push(format!("/scim2/Users?filter={filter}{tail}"));
        }
        urls.push(format!("/scim2/Groups?filter={filter}&excludedAttributes=members"));
        urls.extend(TENANTS.iter().map(|tenant| format!("/t/{tenant}/scim2/Users?filter={filter}")));
    }
    for name in NAMES {
        urls.push(format!("/scim2/Users/{name}"));
        urls.push(format!("/t/wso2.com/scim2/Groups/{name}?attributes=displayName"));
    }
    urls
}

fn services() -> Vec<String> {
    let mut urls = Vec::new();
    for name in SERVICES {
        let endpoints = ["HttpSoap11", "HttpSoap12", "HttpsSoap11", "HttpsSoap12", "Http", "Https"];
        let endpoints = endpoints.map(|transport| format!("{name}.{name}{transport}Endpoint"));
        for form in endpoints.iter().map(String::as_str).chain([*name]) {
            for tail in [
                "",
                "/echoString",
                "?wsdl",
                "?wsdl2",
                "?wsdl=StockQuote.wsdl",
                "?xsd=xsd0",
                "?policy",
                "?tryit",
                "/",
                "/getQuote?symbol=WSO2&x=a+b%20c",
                ";jsessionid=0A1B2C3D4E.node_1",
                ";jsessionid=0A1B2C3D4E!-1?wsdl",
            ] {
                urls.push(format!("/services/{form}{tail}"));
            }
            for tenant in TENANTS {
                urls.push(format!("/t/{tenant}/services/{form}"));
                urls.push(format!("/services/t/{tenant}/{form}?wsdl"));
            }
        }
    }
    for name in NAMES {
        urls.push(format!("/services/echo/{name}"));
        urls.push(format!("/t/wso2.com/services/echo/{name}?x={name}"));
    }
    urls.extend(QUERIES.iter().map(|query| format!("/services/echo?{query}")));
    urls
}

fn applications() -> Vec<String> {
    let mut urls = vec!["/orders/1.0.0/services".to_owned(), "/orders/services/echo?x=1".to_owned()];
    for application in APPLICATIONS {
        urls.push((*application).to_owned());
        urls.push(format!("{application}/"));
        for name in NAMES {
            urls.push(format!("{application}/1.0.0/items/{name}"));
        }
        for query in QUERIES {
            urls.push(format!("{application}/v2/search?{query}"));
        }
    }
    for query in ODATA {
        for set in
            ["Products", "Products(1)", "Products('A%20B')/Category", "People(Key='x',Lang='en')/$value", "$metadata"]
        {
            urls.push(format!("/odata/v4/{set}?{query}"));
        }
    }
    for (tenant, name) in TENANTS.iter().flat_map(|tenant| NAMES.iter().map(move |name| (tenant, name))) {
        urls.push(format!("/t/{tenant}/pizzashack/1.0.0/menu/{name}"));
    }
    urls
}
