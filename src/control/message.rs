//! The lines of a control connection: requests, replies and notifications of JSON-RPC 2.0.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;

/// Longest line a client may send. Longer ones cannot be told apart from a client that never ends its
/// line, and end the connection.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RpcError {
    /// One of the codes of this type; negative.
    pub code: i64,
    /// What happened, to what, why, and what to do.
    pub message: String,
}

impl RpcError {
    /// The line is not JSON.
    pub const PARSE: i64 = -32_700;
    /// The JSON is no request.
    pub const INVALID_REQUEST: i64 = -32_600;
    /// There is no such method.
    pub const UNKNOWN_METHOD: i64 = -32_601;
    /// The method takes other parameters.
    pub const INVALID_PARAMS: i64 = -32_602;
    /// The servent failed at something that is not the client's fault, such as its disk.
    pub const INTERNAL: i64 = -32_603;
    /// There is no transfer, link or search of that name.
    pub const NOT_FOUND: i64 = -32_000;
    /// The servent will not do it now: a limit is reached, or the state is another.
    pub const REFUSED: i64 = -32_001;
    /// The servent may not write there.
    pub const NOT_WRITABLE: i64 = -32_002;

    /// An error with one of the codes of this type.
    pub fn new(code: i64, message: impl Into<String>) -> RpcError {
        RpcError { code, message: message.into() }
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RpcError {}

/// A request of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Names the request in its reply; `None` wants none.
    pub id: Option<Value>,
    /// The method.
    pub method: String,
    /// Its arguments, by name.
    pub params: Value,
}

impl Request {
    /// Reads one line.
    ///
    /// # Errors
    /// With the id to reply to, as far as it could be read: what is not JSON, or no request.
    pub fn parse(line: &[u8]) -> Result<Request, (Value, RpcError)> {
        let value: Value = serde_json::from_slice(line).map_err(|error| {
            let text = format!("not JSON: {error}; send one object a line");
            (Value::Null, RpcError::new(RpcError::PARSE, text))
        })?;
        let invalid = |id: Value, text: &str| {
            Err((id, RpcError::new(RpcError::INVALID_REQUEST, text.to_owned())))
        };
        let Value::Object(mut fields) = value else {
            return invalid(
                Value::Null,
                "not a request: send one object a line, batches are not taken",
            );
        };
        let id = fields.remove("id");
        let echoed = match &id {
            Some(id @ (Value::String(_) | Value::Number(_) | Value::Null)) => id.clone(),
            None => Value::Null,
            Some(_) => return invalid(Value::Null, "\"id\" is a string or a number"),
        };
        if fields.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return invalid(echoed, "not a request of JSON-RPC 2.0: \"jsonrpc\" is to be \"2.0\"");
        }
        let Some(Value::String(method)) = fields.remove("method") else {
            return invalid(echoed, "\"method\" is missing, or no string");
        };
        let params = match fields.remove("params") {
            None | Some(Value::Null) => json!({}),
            Some(Value::Object(params)) => Value::Object(params),
            Some(_) => {
                let text = "\"params\" is an object: arguments have names";
                return Err((echoed, RpcError::new(RpcError::INVALID_PARAMS, text)));
            }
        };
        Ok(Request { id, method, params })
    }

    /// The line of this request, without its end.
    pub fn to_line(&self) -> String {
        let mut object = json!({"jsonrpc": "2.0", "method": self.method, "params": self.params});
        if let Some(id) = &self.id {
            object["id"] = id.clone();
        }
        object.to_string()
    }
}

/// The line of a reply, without its end.
pub fn reply_line(id: &Value, outcome: Result<Value, RpcError>) -> String {
    match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string(),
        Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string(),
    }
}

/// The line of a notification, without its end.
pub fn notification_line(method: &str, params: &Value) -> String {
    notification_line_of(method, &params.to_string())
}

/// The line of a notification whose parameters are JSON already.
pub fn notification_line_of(method: &str, params: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{params}}}")
}

/// A line the servent sends.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerLine {
    /// The reply to a request.
    Reply {
        /// The request's id.
        id: Value,
        /// Its result.
        outcome: Result<Value, RpcError>,
    },
    /// Something that happened: see [`super::methods::NOTIFICATIONS`].
    Notification {
        /// Its name.
        method: String,
        /// What it says.
        params: Value,
    },
}

impl ServerLine {
    /// Reads a line of the servent.
    ///
    /// # Errors
    /// With a sentence, when it is none of JSON-RPC.
    pub fn parse(line: &str) -> Result<ServerLine, String> {
        let value: Value =
            serde_json::from_str(line).map_err(|error| format!("not a line of JSON: {error}"))?;
        let Value::Object(mut fields) = value else { return Err("not an object".to_owned()) };
        if let Some(Value::String(method)) = fields.remove("method") {
            let params = fields.remove("params").unwrap_or(Value::Null);
            return Ok(ServerLine::Notification { method, params });
        }
        let id = fields.remove("id").unwrap_or(Value::Null);
        if let Some(result) = fields.remove("result") {
            return Ok(ServerLine::Reply { id, outcome: Ok(result) });
        }
        let error = fields.remove("error").ok_or("neither a reply nor a notification")?;
        let error = serde_json::from_value(error).map_err(|error| format!("no error: {error}"))?;
        Ok(ServerLine::Reply { id, outcome: Err(error) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_request_is_told_apart() {
        let cases = [
            ("", RpcError::PARSE),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"", RpcError::PARSE),
            ("[]", RpcError::INVALID_REQUEST),
            ("1", RpcError::INVALID_REQUEST),
            ("{\"id\":1,\"method\":\"status\"}", RpcError::INVALID_REQUEST),
            ("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"status\"}", RpcError::INVALID_REQUEST),
            ("{\"jsonrpc\":\"2.0\",\"id\":1}", RpcError::INVALID_REQUEST),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":1}", RpcError::INVALID_REQUEST),
            ("{\"jsonrpc\":\"2.0\",\"id\":[],\"method\":\"a\"}", RpcError::INVALID_REQUEST),
            (
                "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":[1]}",
                RpcError::INVALID_PARAMS,
            ),
        ];
        for (line, code) in cases {
            assert_eq!(Request::parse(line.as_bytes()).unwrap_err().1.code, code, "{line}");
        }
        let (id, _) = Request::parse(b"{\"id\":7,\"method\":\"status\"}").unwrap_err();
        assert_eq!(id, 7, "the client finds its request");
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let request =
            Request { id: Some(3.into()), method: "ping".into(), params: json!({"ttl": 2}) };
        assert_eq!(Request::parse(request.to_line().as_bytes()).unwrap(), request);
        let error = RpcError::new(RpcError::NOT_FOUND, "no transfer 9");
        for outcome in [Ok(json!({"id": 9})), Ok(Value::Null), Err(error)] {
            let line = reply_line(&3.into(), outcome.clone());
            assert_eq!(
                ServerLine::parse(&line).unwrap(),
                ServerLine::Reply { id: 3.into(), outcome }
            );
        }
        let line = notification_line("missed", &json!({"missed": 4}));
        let said =
            ServerLine::Notification { method: "missed".into(), params: json!({"missed": 4}) };
        assert_eq!(ServerLine::parse(&line).unwrap(), said);
    }
}
