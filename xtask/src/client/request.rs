//! What the committed crate has no need of: segments of the path that can't leave it, headers that are not printed, values
//! of any type, and lists and maps that lose no more than what does not fit.

use std::{collections::BTreeMap, fmt, str::FromStr};

use reqwest::header::{HeaderValue, InvalidHeaderValue};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{Error, ResponseValue, hooks};

/// One segment of a path: text that can't leave it, whatever is done to the URL on its way.
///
/// `Debug` shows none of it: some segments are secrets, such as the token of an invitation.
#[derive(Clone, PartialEq, Eq)]
pub struct Segment(String);

impl Segment {
    /// Checks the text.
    ///
    /// # Errors
    ///
    /// [`InvalidSegment`] when it is empty, `.` or `..`, or has a slash, a backslash or a control character.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidSegment> {
        let text = text.into();
        // Percent-encoding does not help: a URL folds `/a/%2e%2e` to `/`, and reads `\` as `/`.
        let is_safe = !matches!(text.as_str(), "" | "." | "..")
            && !text.contains(|letter: char| matches!(letter, '/' | '\\') || letter.is_control());
        if is_safe { Ok(Self(text)) } else { Err(InvalidSegment) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Segment([redacted])")
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Segment {
    type Err = InvalidSegment;

    fn from_str(text: &str) -> Result<Self, InvalidSegment> {
        Self::new(text)
    }
}

/// The text can't be one segment of a path. It is not repeated here: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSegment;

impl fmt::Display for InvalidSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is empty, or could leave its place in the path")
    }
}

impl std::error::Error for InvalidSegment {}

/// A header of a text or a number. Its `Debug` shows nothing: the ones that RIXL documents are keys.
pub(crate) fn header(value: &impl Serialize) -> Result<HeaderValue, InvalidHeaderValue> {
    let text = match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        other => other.unwrap_or_default().to_string(),
    };
    let mut value = HeaderValue::try_from(text)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Any JSON. No document says what is in it, and so it may hold a secret: `Debug` prints `Json([redacted])`, and
/// [`expose_secret`] is the way out.
///
/// [`expose_secret`]: Json::expose_secret
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Value);

impl Json {
    /// Takes the value over.
    pub fn new(value: impl Into<Value>) -> Self {
        Self(value.into())
    }

    /// The value in clear.
    pub fn expose_secret(&self) -> &Value {
        &self.0
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json([redacted])")
    }
}

/// An unsigned integer of 64 bits, which the gateway writes as a number or as a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct UInt64(pub u64);

impl<'de> Deserialize<'de> for UInt64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        number.map(Self).ok_or_else(|| serde::de::Error::custom("not an unsigned integer of 64 bits"))
    }
}

/// Reads a list: what is none is empty, and items of another type are left out.
pub(crate) fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    List::deserialize(deserializer).map(|List(items)| items)
}

/// Reads a map: what is none is not set, and values of another type are left out.
pub(crate) fn map<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, T>>, D::Error> {
    Map::deserialize(deserializer).map(|Map(entries)| entries)
}

/// Reads a response that is a list.
pub(crate) async fn decode_list<T: DeserializeOwned + fmt::Debug, E>(
    response: reqwest::Response,
) -> Result<ResponseValue<Vec<T>>, Error<E>> {
    hooks::decode::<List<T>, E>(response).await?.map(|List(items)| items)
}

/// Reads a response that is a map.
pub(crate) async fn decode_map<T: DeserializeOwned + fmt::Debug, E>(
    response: reqwest::Response,
) -> Result<ResponseValue<BTreeMap<String, T>>, Error<E>> {
    hooks::decode::<Map<T>, E>(response).await?.map(|Map(entries)| entries.unwrap_or_default())
}

struct List<T>(Vec<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        let items: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
        Ok(Self(items.into_iter().filter_map(|item| serde_json::from_str(item.get()).ok()).collect()))
    }
}

struct Map<T>(Option<BTreeMap<String, T>>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        let entries: Option<BTreeMap<String, &RawValue>> = serde_json::from_str(json).ok();
        let value = |(key, json): (String, &RawValue)| Some((key, serde_json::from_str(json.get()).ok()?));
        Ok(Self(entries.map(|entries| entries.into_iter().filter_map(value).collect())))
    }
}
