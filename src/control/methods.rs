//! The methods: one list, from which requests are read and which describes itself.

use super::message::{Request, RpcError};
use super::params::{
    AddrParams, DownloadParams, IdParams, LogParams, NoParams, PingParams, SearchParams, SetParams,
    SubscribeParams,
};
use super::results::{
    Done, HostRow, LimitRow, LinkRow, LogRow, PeerRef, PingEnd, SearchEnd, Settings, ShareRow,
    Status, Subscribed, TransferRef, TransferRow,
};
use schemars::{Schema, generate::SchemaGenerator, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What the servent says without being asked each time, and when.
pub const NOTIFICATIONS: [(&str, &str); 5] = [
    ("hit", "a hit of a running search: the fields of `search --json`, and `search`, its GUID"),
    ("pong", "a Pong of a running ping: host, port, files, kib, hops, and `ping`, its GUID"),
    ("event", "a record of what was subscribed to: the fields of a line of `run --events`"),
    ("transfer", "a transfer whose state has changed, or that was cancelled: a row of `transfers`"),
    ("missed", "`{\"missed\": N}`: N records were lost because the client did not keep up"),
];

/// One method, as [`discover`] describes it.
#[derive(Debug)]
pub struct MethodInfo {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it does.
    pub summary: &'static str,
    params: fn(&mut SchemaGenerator) -> Schema,
    result: fn(&mut SchemaGenerator) -> Schema,
}

macro_rules! methods {
    ($($name:literal $variant:ident($params:ty) -> $result:ty: $summary:literal;)*) => {
        /// A request whose method and arguments are understood.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Call {
            $(#[doc = $summary] $variant($params),)*
        }

        /// Every method.
        pub const METHODS: &[MethodInfo] = &[
            $(MethodInfo {
                name: $name,
                summary: $summary,
                params: |generator| generator.subschema_for::<$params>(),
                result: |generator| generator.subschema_for::<$result>(),
            },)*
        ];

        impl Call {
            /// Reads the method and the arguments of a request.
            ///
            /// # Errors
            /// When there is no such method, or it takes other arguments.
            pub fn of(request: &Request) -> Result<Call, RpcError> {
                match request.method.as_str() {
                    $($name => arguments($name, &request.params).map(Call::$variant),)*
                    other => Err(unknown(other)),
                }
            }

            /// The name of its method.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Call::$variant(_) => $name,)*
                }
            }
        }
    };
}

methods! {
    "status" Status(NoParams) -> Status: "What the servent is doing, in numbers";
    "links" Links(NoParams) -> Vec<LinkRow>: "Its links";
    "hosts" Hosts(NoParams) -> Vec<HostRow>: "The hosts it may dial";
    "shares" Shares(NoParams) -> Vec<ShareRow>: "The folders it shares";
    "transfers" Transfers(NoParams) -> Vec<TransferRow>: "Its uploads and downloads";
    "limits" Limits(NoParams) -> Vec<LimitRow>: "Its tables and queues, and their limits";
    "log" Log(LogParams) -> Vec<LogRow>: "The latest lines of its log";
    "search" Search(SearchParams) -> SearchEnd: "Search the network; each hit is a notification";
    "download" Download(DownloadParams) -> TransferRef: "Add a download to the queue";
    "pause" Pause(IdParams) -> TransferRef: "Hold a download";
    "resume" Resume(IdParams) -> TransferRef: "Go on with a held download";
    "cancel" Cancel(IdParams) -> TransferRef: "Take a download off the list; its partial file stays";
    "retry" Retry(IdParams) -> TransferRef: "Try a download again, now";
    "connect" Connect(AddrParams) -> PeerRef: "Keep a link with a servent";
    "disconnect" Disconnect(AddrParams) -> PeerRef: "End the link with a servent, and keep none";
    "rescan" Rescan(NoParams) -> Done: "Scan the shared folders";
    "ping" Ping(PingParams) -> PingEnd: "Ask who is out there; each Pong is a notification";
    "set" Set(SetParams) -> Settings: "Change settings until the next start";
    "subscribe" Subscribe(SubscribeParams) -> Subscribed: "Be told what happens, as notifications";
    "stop" Stop(NoParams) -> Done: "Stop the servent";
    "rpc.discover" Discover(NoParams) -> Value: "This description, as OpenRPC";
}

fn arguments<T: DeserializeOwned>(method: &str, params: &Value) -> Result<T, RpcError> {
    T::deserialize(params).map_err(|error| {
        let text = format!("{method}: {error}; rpc.discover lists the arguments");
        RpcError::new(RpcError::INVALID_PARAMS, text)
    })
}

fn unknown(name: &str) -> RpcError {
    let names: Vec<_> = METHODS.iter().map(|method| method.name).collect();
    let text = format!("there is no method \"{name}\"; the methods are {}", names.join(", "));
    RpcError::new(RpcError::UNKNOWN_METHOD, text)
}

/// All methods with their arguments and results, as an OpenRPC document.
pub fn discover() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let methods: Vec<Value> =
        METHODS.iter().map(|method| describe(method, &mut generator)).collect();
    let schemas = generator.take_definitions(true);
    json!({
        "openrpc": "1.3.2",
        "info": {"title": "servent", "version": env!("CARGO_PKG_VERSION")},
        "methods": methods,
        "components": {"schemas": schemas},
        "x-notifications": NOTIFICATIONS
            .iter()
            .map(|(name, summary)| json!({"name": name, "summary": summary}))
            .collect::<Vec<_>>(),
    })
}

fn describe(method: &MethodInfo, generator: &mut SchemaGenerator) -> Value {
    let params = (method.params)(generator);
    let result = (method.result)(generator);
    let object = resolved(params.as_value(), generator);
    let required: Vec<&str> =
        object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = object["properties"].as_object().cloned().unwrap_or_default();
    let params: Vec<Value> = fields
        .into_iter()
        .map(|(name, schema)| {
            json!({"required": required.contains(&name.as_str()), "name": name, "schema": schema})
        })
        .collect();
    json!({
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "by-name",
        "params": params,
        "result": {"name": "result", "schema": result},
    })
}

/// The schema that `schema` refers to, if it only refers.
fn resolved(schema: &Value, generator: &SchemaGenerator) -> Value {
    let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
    name.and_then(|name| generator.definitions().get(name)).unwrap_or(schema).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, params: Value) -> Result<Call, RpcError> {
        Call::of(&Request { id: None, method: method.to_owned(), params })
    }

    #[test]
    fn arguments_are_read_by_name_and_mistakes_are_named() {
        let search = call("search", json!({"words": "free jazz", "ttl": 3})).unwrap();
        let params = SearchParams { words: "free jazz".into(), ttl: Some(3), wait: None };
        assert_eq!(search, Call::Search(params));
        assert_eq!(call("status", json!({})).unwrap().name(), "status");
        for (method, params, said) in [
            ("search", json!({}), "words"),
            ("search", json!({"words": 1}), "string"),
            ("search", json!({"words": "a", "tll": 1}), "tll"),
            ("cancel", json!({"id": -1}), "-1"),
            ("status", json!({"x": 1}), "x"),
            ("subscribe", json!({"events": ["lings"]}), "lings"),
        ] {
            let error = call(method, params).unwrap_err();
            assert_eq!(error.code, RpcError::INVALID_PARAMS);
            assert!(error.message.contains(said), "{}", error.message);
        }
        let error = call("sattus", json!({})).unwrap_err();
        assert_eq!(error.code, RpcError::UNKNOWN_METHOD);
        assert!(error.message.contains("sattus") && error.message.contains("status"));
    }

    #[test]
    fn every_method_is_described_with_its_arguments_and_its_result() {
        let document = discover();
        let methods = document["methods"].as_array().unwrap();
        assert_eq!(methods.len(), METHODS.len());
        let of = |name: &str| methods.iter().find(|it| it["name"] == name).unwrap();
        let search = of("search");
        let names: Vec<_> = search["params"].as_array().unwrap().iter().collect();
        assert_eq!(names.len(), 3, "{search}");
        assert!(names.iter().any(|it| it["name"] == "words" && it["required"] == true));
        let reference = search["result"]["schema"]["$ref"].as_str().unwrap();
        let schema = document.pointer(&reference[1..]).unwrap();
        assert!(schema["properties"].get("hits").is_some(), "{schema}");
    }
}
