//! Why a request is refused before it is one.

macro_rules! faults {
    ($($(#[$doc:meta])+ $variant:ident = $status:literal, $word:literal;)+) => {
        /// Why a request is refused before anything is decided about it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Fault { $($(#[$doc])+ $variant,)+ }

        impl Fault {
            /// All faults, for metrics that start at zero.
            pub const ALL: &[Fault] = &[$(Fault::$variant,)+];

            /// The status of the answer.
            pub const fn status(self) -> u16 {
                match self { $(Fault::$variant => $status,)+ }
            }

            /// The word used in logs and in metric labels.
            pub const fn as_str(self) -> &'static str {
                match self { $(Fault::$variant => $word,)+ }
            }
        }
    };
}

faults! {
    /// A line that does not end with CR LF, or a CR elsewhere.
    LineEnding = 400, "http_line_ending";
    /// More than one empty line before a request.
    EmptyLines = 400, "http_empty_lines";
    /// Not `METHOD TARGET VERSION` with single spaces.
    RequestLine = 400, "http_request_line";
    /// A method with characters that no method has.
    Method = 400, "http_method";
    /// `CONNECT` or `TRACE`.
    MethodNotImplemented = 501, "http_method_not_implemented";
    /// A target that does not begin with `/`, or has a fragment, or characters that must be encoded.
    Target = 400, "http_target";
    /// A target with another scheme, with user information, or with another host than `Host` has.
    Authority = 400, "http_authority";
    /// A target that is longer than `limits.target`.
    TargetTooLong = 414, "http_target_too_long";
    /// `HTTP/` and a version other than 1.0 and 1.1.
    Version = 505, "http_version";
    /// A header that is larger than `limits.header`.
    HeaderTooLarge = 431, "http_header_too_large";
    /// More fields than `limits.fields`.
    TooManyFields = 431, "http_too_many_fields";
    /// A field that goes on in the next line.
    Folding = 400, "http_folding";
    /// A name of a field with characters that no name has, or with a space before the colon.
    FieldName = 400, "http_field_name";
    /// A control character in the value of a field.
    FieldValue = 400, "http_field_value";
    /// HTTP/1.1 without `Host`.
    HostMissing = 400, "http_host_missing";
    /// More than one `Host`.
    HostRepeated = 400, "http_host_repeated";
    /// A `Content-Length` that is no number, or more than one.
    ContentLength = 400, "http_content_length";
    /// `Content-Length` beside `Transfer-Encoding`, either of them twice, or a coding in HTTP/1.0.
    Framing = 400, "http_framing";
    /// A transfer coding other than `chunked`.
    TransferCoding = 501, "http_transfer_coding";
    /// `Expect` with anything but `100-continue`.
    Expectation = 417, "http_expectation";
    /// `Upgrade` to anything but `websocket` (and `h2c`, which is ignored), or together with a body.
    Upgrade = 501, "http_upgrade";
    /// A chunk whose size, extension or end is malformed.
    Chunk = 400, "http_chunk";
    /// A malformed trailer.
    Trailer = 400, "http_trailer";
    /// Trailers that are larger than `limits.header`.
    TrailerTooLarge = 431, "http_trailer_too_large";
    /// Chunks that announce more than the body may have.
    BodyTooLarge = 413, "body_too_large";
    /// A header that was not complete in time.
    HeaderTooSlow = 408, "header_too_slow";
    /// A body that came more slowly than `limits.body_rate`.
    BodyTooSlow = 408, "body_too_slow";
    /// HTTP/2: a request that is malformed, or whose host is ambiguous.
    Http2Malformed = 400, "http2_malformed";
}
