//! What is told of requests: traces and access logs.

/// What a Listener tells, and whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Telemetry {
    /// Where traces go.
    pub tracing: Option<Tracing>,
    /// Where access logs go.
    pub logs: Vec<AccessLog>,
}

/// Where traces go, and of what.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// The collector's cluster.
    pub cluster: String,
    /// What the collector speaks.
    pub driver: Driver,
    /// Which requests are traced.
    pub sampling: Sampling,
    /// Tags of every trace.
    pub tags: Vec<Tag>,
}

/// What a collector of traces speaks.
#[derive(Clone, Debug, PartialEq)]
pub enum Driver {
    /// Zipkin's API, version 2.
    Zipkin {
        /// The path.
        endpoint: String,
        /// Protobuf instead of JSON.
        protobuf: bool,
        /// The host that is asked for, if another than the cluster.
        hostname: String,
        /// Ids of traces have 128 bits.
        long_ids: bool,
        /// Client and server share a span.
        shared_spans: bool,
    },
    /// Datadog's agent.
    Datadog {
        /// What the gateway is called.
        service: String,
    },
    /// OpenTelemetry's protocol over gRPC.
    OpenTelemetry {
        /// What the gateway is called.
        service: String,
    },
}

/// Percents of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Of those that ask for it by `x-client-trace-id`.
    pub client: u32,
    /// Of all.
    pub random: u32,
    /// Of those that the other two chose.
    pub overall: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { client: 100, random: 100, overall: 100 }
    }
}

/// A tag of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// Where its value is from.
    pub value: TagValue,
}

/// Where the value of a tag is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagValue {
    /// It is this.
    Literal(String),
    /// A variable of Envoy's environment; or, where it is missing, the second.
    Environment(String, String),
    /// A header of the request; or, where it is missing, the second.
    Header(String, String),
}

/// Where an access log goes, over gRPC.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// What the log is called.
    pub name: String,
    /// Its receiver's cluster.
    pub cluster: String,
    /// Milliseconds until what was collected is sent.
    pub flush_ms: u64,
    /// Bytes until what was collected is sent.
    pub flush_bytes: u32,
    /// What an entry is about.
    pub about: About,
}

/// What an entry of an access log is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// A request; with these headers.
    Requests {
        /// Of requests.
        request: Vec<String>,
        /// Of responses.
        response: Vec<String>,
        /// Of the trailers of responses.
        trailer: Vec<String>,
    },
    /// A connection.
    Connections,
}
