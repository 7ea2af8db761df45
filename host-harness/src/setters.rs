//! The macros that write the setters of options.

/// Writes `with_FIELD` for fields of a struct, one after the other: `value` for a field that takes just that, `into` for
/// one that takes whatever becomes its type, `some` for an optional one that takes what becomes the type in it.
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
