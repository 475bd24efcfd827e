//! Why a request goes nowhere.

/// A request that is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Index into [`Config::clusters`](crate::config::Config::clusters), if the host was known.
    pub cluster: Option<usize>,
}

impl Refusal {
    /// Refused before a cluster was found.
    pub(super) const fn early(reason: Reason) -> Self {
        Refusal { reason, cluster: None }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])+ $variant:ident = $status:literal, $word:literal;)+) => {
        /// Why a request is not served.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])+ $variant,)+ }

        impl Reason {
            /// All reasons, for metrics that start at zero.
            pub const ALL: &[Reason] = &[$(Reason::$variant,)+];

            /// The status of the answer: 400 for what has no single meaning, 421 for a host of nobody, 404 for what the
            /// listener does not serve.
            pub const fn status(self) -> u16 {
                match self { $(Reason::$variant => $status,)+ }
            }

            /// The word used in logs and in metric labels.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$variant => $word,)+ }
            }
        }
    };
}

reasons! {
    /// No `Host` and no `:authority`.
    HostMissing = 400, "host_missing";
    /// A host that is no name and no address.
    HostInvalid = 400, "host_invalid";
    /// A host that is in no table of the listener's role.
    HostUnknown = 421, "host_unknown";
    /// A path that does not begin with `/`.
    PathRelative = 400, "path_relative";
    /// A control character, raw or encoded.
    PathControlCharacter = 400, "path_control_character";
    /// A raw byte outside ASCII.
    PathNotAscii = 400, "path_not_ascii";
    /// A character that has to be encoded in a path.
    PathInvalidCharacter = 400, "path_invalid_character";
    /// `%` without two hexadecimal digits.
    PathBadEscape = 400, "path_bad_escape";
    /// Not UTF-8 when decoded.
    PathNotUtf8 = 400, "path_not_utf8";
    /// `%2f`.
    PathEncodedSlash = 400, "path_encoded_slash";
    /// `\`.
    PathBackslash = 400, "path_backslash";
    /// `%5c`.
    PathEncodedBackslash = 400, "path_encoded_backslash";
    /// An escape that decodes to another escape.
    PathDoubleEncoding = 400, "path_double_encoding";
    /// `//`.
    PathEmptySegment = 400, "path_empty_segment";
    /// `/./` or `/../`, encoded or not.
    PathDotSegment = 400, "path_dot_segment";
    /// A `;` that is not a trailing `;jsessionid=`, or one whose value ends like the name of a file.
    PathMatrixParameter = 400, "path_matrix_parameter";
    /// `%3b`.
    PathEncodedSemicolon = 400, "path_encoded_semicolon";
    /// Management on a listener for workers.
    ManagementPath = 404, "management_path";
    /// Nearly management, on a listener for managers: another case, needless escapes, nested tenants.
    ManagementPathInexact = 404, "management_path_inexact";
    /// An admin service on a listener for workers.
    AdminService = 404, "admin_service";
    /// A query in which Axis2 would find an admin service, on a listener for workers.
    AdminServiceInQuery = 404, "admin_service_in_query";
    /// `/services/NAME` where `NAME` is not on the operator's list.
    ServiceNotListed = 404, "service_not_listed";
    /// A query in which Axis2 would find such a name, on a listener for workers.
    ServiceInQueryNotListed = 404, "service_in_query_not_listed";
    /// What may be SOAP, for a worker, at a path that does not say which listed service or path it is for.
    SoapNotListed = 404, "soap_path_not_listed";
    /// A service on a listener for managers.
    ServicePathOnManager = 404, "service_path_on_manager";
    /// A path on no table.
    PathNotListed = 404, "path_not_listed";
}
