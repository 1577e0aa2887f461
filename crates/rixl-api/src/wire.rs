//! What values on the wire become: secrets that cannot be printed, ids that cannot leave their path, lenient readers.

use std::{borrow::Cow, cell::Cell, fmt, marker::PhantomData, str::FromStr};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        self, DeserializeOwned, IgnoredAny, IntoDeserializer as _, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{BorrowedStrDeserializer, MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// A secret string. `Debug` prints `Secret([redacted])`; the memory is wiped on drop; [`expose_secret`] is the way out.
///
/// `Serialize` writes it in clear, since request bodies carry secrets.
///
/// [`expose_secret`]: Secret::expose_secret
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a `String` over without a copy; of a `&str` it makes one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret in plain text.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// An id that is safe in a URL: 1 to 64 characters of `0-9A-Za-z`.
///
/// The published pattern is `^[0-9A-Za-z]+$` with about ten characters; the upper bound is this project's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(String);

impl Id {
    /// The maximum length of an id, in characters.
    pub const MAX_LEN: usize = 64;

    /// Checks the text.
    ///
    /// # Errors
    ///
    /// [`InvalidId`] when it is empty, too long, or has a character other than `0-9A-Za-z`.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
        let text = text.into();
        if text.is_empty() {
            return Err(InvalidId::Empty);
        }
        // Not `all`: without an early end it is one test, and this is done for three ids of each key of a list.
        if !text.bytes().fold(true, |is_valid, byte| is_valid & byte.is_ascii_alphanumeric()) {
            let position = text.chars().take_while(char::is_ascii_alphanumeric).count();
            return Err(InvalidId::Character { position: position + 1 });
        }
        if text.len() > Self::MAX_LEN {
            return Err(InvalidId::TooLong { length: text.len() });
        }
        Ok(Self(text))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not an id. It never repeats the text: what was passed by mistake may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidId {
    /// The text is empty.
    Empty,
    /// The text is longer than [`Id::MAX_LEN`].
    TooLong {
        /// Its length in characters.
        length: usize,
    },
    /// A character is not one of `0-9A-Za-z`.
    Character {
        /// Which one, counted from 1.
        position: usize,
    },
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong { length } => write!(f, "it has {length} characters, at most {} are allowed", Id::MAX_LEN),
            Self::Character { position } => write!(f, "character {position} is not one of 0-9, A-Z, a-z"),
        }
    }
}

impl std::error::Error for InvalidId {}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::new(text)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The maximum number of items on a page, as published.
pub const MAX_PAGE: usize = 100;

/// The most objects of a list without pages.
pub const MAX_LIST: usize = 10_000;

/// A 64-bit integer that comes as a JSON number or as a string of digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Int64(pub i64);

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Int64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a 64-bit integer, as a number or a string")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Int64, E> {
                Ok(Int64(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Int64, E> {
                number.try_into().map(Int64).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Int64, E> {
                text.parse().map(Int64).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// A time of a response. One in an unknown format is not the same as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Time(Option<Timestamp>);

impl Time {
    /// The time; `None`: it is set, and is no RFC 3339 timestamp.
    pub fn timestamp(self) -> Option<Timestamp> {
        self.0
    }
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(Some(time))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Time {
    /// A server of Go writes a time that is not set as that of the year 1: it is refused here, and so `not_set` there.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        Self::read(json).ok_or_else(|| de::Error::custom("the zero time"))
    }
}

impl Time {
    /// `None`: it is not set. What a JSON parser refuses, such as `1e999`, is set all the same.
    fn read(json: &str) -> Option<Self> {
        match bare(json).map_or_else(|| serde_json::from_str(json).map(Cow::Owned), |text| Ok(Cow::Borrowed(text))) {
            Ok(text) => Self::read_text(&text),
            Err(_) => Some(Self(None)),
        }
    }

    fn read_text(text: &str) -> Option<Self> {
        let time: Option<Timestamp> = text.parse().ok();
        let is_zero = text.starts_with("0001-") || time.is_some_and(|time| time.as_second() < YEAR_2);
        (!is_zero).then_some(Self(time))
    }
}

thread_local! {
    static IS_FIRST_LOOK: Cell<bool> = const { Cell::new(false) };
}

/// Reads a response: in one pass, as a server writes it that follows the contract, and only where that fails as
/// [`Deserialize`] does it, which looks at each value twice so that an odd one costs no other.
///
/// # Errors
///
/// That of [`Deserialize`], when it is not JSON, or a list has something else than its objects.
pub fn read<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    struct FirstLook;

    impl Drop for FirstLook {
        fn drop(&mut self) {
            IS_FIRST_LOOK.set(false);
        }
    }

    // All of it at once: a reader of bytes looks at each text whether it is UTF-8.
    let first = str::from_utf8(json).ok().and_then(|text| {
        let _first_look = FirstLook;
        IS_FIRST_LOOK.set(true);
        serde_json::from_str(text).ok()
    });
    first.map_or_else(|| serde_json::from_slice(json), Ok)
}

/// What the first look reads: `null` and `""` as not set, the rest as the type itself does, whose refusal ends the look.
struct Set<T>(PhantomData<T>);

/// Hands a value on to `T`.
macro_rules! hand_on {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: de::Error>(self, value: $type) -> Result<Option<T>, E> {
            T::deserialize(value.into_deserializer()).map(Some)
        })*
    };
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Set<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the contract")
    }

    hand_on! { visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64 }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<T>, E> {
        if text.is_empty() { Ok(None) } else { T::deserialize(text.into_deserializer()).map(Some) }
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Option<T>, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(list)).map(Some)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }
}

/// Reads an optional time, as [`not_set`] does other fields.
pub(crate) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    /// A text at the first look.
    struct Text;

    impl Visitor<'_> for Text {
        type Value = Option<Time>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time")
        }

        fn visit_str<E>(self, text: &str) -> Result<Option<Time>, E> {
            Ok(if text.is_empty() { None } else { Time::read_text(text) })
        }

        fn visit_unit<E>(self) -> Result<Option<Time>, E> {
            Ok(None)
        }
    }

    if IS_FIRST_LOOK.get() {
        return deserializer.deserialize_any(Text);
    }
    Ok(present(deserializer)?.and_then(Time::read))
}

/// A text without escapes, as it stands.
fn bare(json: &str) -> Option<&str> {
    json.strip_prefix('"')?.strip_suffix('"').filter(|text| !text.contains('\\'))
}

/// When the year 2 begins.
const YEAR_2: i64 = -62_104_060_800;

/// Reads an optional field: `null`, `""` and Go's zero time are not set, like an absent one.
///
/// Neither is a value of another type (a number for a name, a map for a text): metadata in a new form must not cost the
/// caller the secret that came with it. What is not JSON still fails the whole response.
pub(crate) fn not_set<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    if IS_FIRST_LOOK.get() {
        return deserializer.deserialize_any(Set(PhantomData));
    }
    Ok(present(deserializer)?.and_then(|json| plain(json).or_else(|| serde_json::from_str(json).ok())))
}

/// Reads a text without escapes as it stands: a JSON parser would look at each of its bytes once more.
fn plain<'de, T: Deserialize<'de>>(json: &'de str) -> Option<T> {
    T::deserialize(BorrowedStrDeserializer::<de::value::Error>::new(bare(json)?)).ok()
}

/// Reads a list of texts: `null`, `""` and what is no list are empty, like an absent one; other items are left out.
pub(crate) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    if IS_FIRST_LOOK.get() {
        let mut texts: Vec<String> = deserializer.deserialize_any(Set(PhantomData))?.unwrap_or_default();
        texts.retain(|text| !text.is_empty());
        return Ok(texts);
    }
    let items: Option<Vec<&RawValue>> = not_set(deserializer)?;
    let text = |item: &RawValue| serde_json::from_str(item.get()).ok().filter(|text: &String| !text.is_empty());
    Ok(items.unwrap_or_default().into_iter().filter_map(text).collect())
}

/// Reads the objects of a page: `null` and `""` are empty, like an absent one. Anything else must be a list of such objects:
/// to leave a key out in silence would be to lose sight of it.
///
/// It ends one item after [`MAX_PAGE`], which tells that there are more: a list can take a hundred times the memory of its
/// text.
pub(crate) fn objects<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    list_of(deserializer, MAX_PAGE + 1).map(|(items, _)| items)
}

/// Reads a list of objects that has no pages: one that is longer than [`MAX_LIST`] is an error, not a part of it.
pub(crate) fn all_objects<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let (items, is_cut) = list_of(deserializer, MAX_LIST)?;
    if is_cut { Err(de::Error::custom("a list that is too long")) } else { Ok(items) }
}

/// So many objects of a list, and whether it has more.
fn list_of<'de, D, T>(deserializer: D, max: usize) -> Result<(Vec<T>, bool), D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Objects<T>(usize, PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Objects<T> {
        type Value = (Vec<T>, bool);

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of objects")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while items.len() < self.0 {
                let Some(item) = list.next_element()? else { return Ok((items, false)) };
                items.push(item);
            }
            let mut is_cut = false;
            while list.next_element::<IgnoredAny>()?.is_some() {
                is_cut = true;
            }
            Ok((items, is_cut))
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok((Vec::new(), false))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            match text.is_empty() {
                true => Ok((Vec::new(), false)),
                false => Err(E::invalid_type(Unexpected::Other("text"), &self)),
            }
        }
    }

    let list = deserializer.deserialize_any(Objects(max, PhantomData));
    // Not the reader's words: they quote the value.
    list.map_err(|_: D::Error| de::Error::custom("not a list of such objects"))
}

/// The text of a value that is set, still in JSON: one pass makes sure that it is JSON, whatever becomes of its parts.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de str>, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?.get();
    Ok(Some(json).filter(|json| !matches!(*json, "null" | "\"\"")))
}
