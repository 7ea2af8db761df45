//! Enumerations in request bodies. The services read their names regardless of case: the Node.js client of IoT Hub sends
//! the import modes `Update` and `Delete`, which the service's description writes with a small letter.

use std::marker::PhantomData;

use serde::de::value::StringDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer as _, Visitor};
use serde::forward_to_deserialize_any;

/// Reads an enumeration, or an optional one, whatever the case of the variant's name. For
/// `#[serde(deserialize_with)]`.
pub(crate) fn any_case<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let text = Option::deserialize(deserializer)?;
    T::deserialize(Name { text, error: PhantomData })
}

/// The name of a variant in any case; `None` is `null`.
struct Name<E> {
    text: Option<String>,
    error: PhantomData<E>,
}

impl<'de, E: Error> Deserializer<'de> for Name<E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        match self.text {
            Some(text) => visitor.visit_string(text),
            None => visitor.visit_unit(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        if self.text.is_some() { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, E> {
        let Some(text) = self.text else { return visitor.visit_unit() };
        let known = variants.iter().find(|variant| variant.eq_ignore_ascii_case(&text));
        let name: StringDeserializer<E> = known.map_or(text, |known| (*known).to_owned()).into_deserializer();
        visitor.visit_enum(name)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::any_case;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Mode {
        UpdateTwin,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Body {
        #[serde(deserialize_with = "any_case")]
        mode: Option<Mode>,
    }

    #[test]
    fn the_case_of_a_name_does_not_matter() {
        let read = |text: &str| serde_json::from_str::<Body>(text).map(|body| body.mode).map_err(|it| it.to_string());
        for text in ["updateTwin", "UpdateTwin", "UPDATETWIN"] {
            assert_eq!(read(&format!(r#"{{"mode": "{text}"}}"#)), Ok(Some(Mode::UpdateTwin)));
        }
        assert_eq!(read("{}"), Ok(None));
        assert_eq!(read(r#"{"mode": null}"#), Ok(None));
        let error = read(r#"{"mode": "burn"}"#).expect_err("an unknown name");
        assert!(error.contains("unknown variant `burn`, expected `updateTwin`"), "{error}");
        assert!(read(r#"{"mode": 1}"#).is_err());
    }
}
