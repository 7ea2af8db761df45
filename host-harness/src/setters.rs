//! The macro that generates setters for option structs.

/// Generates one function `with_FIELD` for each listed field. `value` takes a value of the field's type; `into` takes
/// anything that converts into that type; `some` is for an `Option` and takes anything that converts into the type
/// inside it.
macro_rules! setters {
    ($owner:ident { $($how:ident $setter:ident ($field:ident: $type:ty);)* }) => {
        impl $owner {
            $(setters!(@$how $setter ($field: $type));)*
        }
    };
    (@value $setter:ident ($field:ident: $type:ty)) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $setter(mut self, $field: $type) -> Self {
            self.$field = $field;
            self
        }
    };
    (@into $setter:ident ($field:ident: $type:ty)) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $setter(mut self, $field: impl Into<$type>) -> Self {
            self.$field = $field.into();
            self
        }
    };
    (@some $setter:ident ($field:ident: $type:ty)) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $setter(mut self, $field: impl Into<$type>) -> Self {
            self.$field = Some($field.into());
            self
        }
    };
}

pub(crate) use setters;
