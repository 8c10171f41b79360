//! The layout of the big sections: fixed-width rows of little-endian numbers, packed without padding.
//!
//! INVARIANT: a row's fields, their order and their widths belong to [`crate::header::SCHEMA`]. The test of this file
//! prints them; when it differs, the schema version goes up.

/// "None" in every index field.
pub const NONE: u32 = u32::MAX;

/// A number as it stands in a row.
trait Number: Sized {
    fn take(bytes: &mut &[u8]) -> Self;
    fn put(&self, out: &mut Vec<u8>);
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Number for $number {
            #[inline(always)]
            fn take(bytes: &mut &[u8]) -> Self {
                // A row is read from an array of exactly its size: the other branch is compiled away.
                let Some((first, rest)) = bytes.split_first_chunk() else { return 0 };
                *bytes = rest;
                Self::from_le_bytes(*first)
            }

            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64, u128);

impl Number for [u8; 32] {
    #[inline(always)]
    fn take(bytes: &mut &[u8]) -> Self {
        let Some((first, rest)) = bytes.split_first_chunk() else { return [0; 32] };
        *bytes = rest;
        *first
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

/// A row of a section.
pub trait Row: Copy {
    /// Its bytes in a file.
    type Bytes: Copy;
    /// Its width in bytes.
    const SIZE: usize;
    /// Field names and widths, in order.
    const FIELDS: &'static [(&'static str, usize)];

    /// The section's bytes as rows; a rest that is no whole row is left out.
    fn rows(bytes: &[u8]) -> &[Self::Bytes];
    /// Reads one row.
    fn read(bytes: &Self::Bytes) -> Self;
    /// Appends the row.
    fn write(&self, out: &mut Vec<u8>);
}

macro_rules! row {
    ($(#[$doc:meta])* $name:ident, $size:literal, {$($(#[$field_doc:meta])* $field:ident: $type:ty,)*}) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        const _: () = assert!($size == 0 $(+ size_of::<$type>())*);

        impl Row for $name {
            type Bytes = [u8; $size];
            const SIZE: usize = $size;
            const FIELDS: &'static [(&'static str, usize)] = &[$((stringify!($field), size_of::<$type>())),*];

            #[inline(always)]
            fn rows(bytes: &[u8]) -> &[[u8; $size]] {
                bytes.as_chunks().0
            }

            #[inline(always)]
            fn read(bytes: &[u8; $size]) -> Self {
                let mut bytes = bytes.as_slice();
                Self { $($field: Number::take(&mut bytes),)* }
            }

            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }
        }
    };
}

row! {
    /// What the tables as a whole need.
    MetaRow, 24, {
        /// Of every hash table in the file.
        seed: u64,
        /// Most labels in a wildcard's suffix; 0: there is no wildcard.
        wildcard_labels_max: u32,
        /// The host that takes any other name, or [`NONE`].
        any_host: u32,
        /// How many groups of routes with one path stand in the path table.
        paths: u32,
        /// Zero.
        reserved: u32,
    }
}

row! {
    /// A slot of a hash table; empty where `index` is [`NONE`].
    SlotRow, 8, {
        /// Low half of the key's hash.
        tag: u32,
        /// What stands here: a host, the first route of a path, a node, a credential.
        index: u32,
    }
}

row! {
    /// A range of the string arena.
    TextRow, 8, {
        /// First byte.
        offset: u32,
        /// Bytes.
        length: u16,
        /// Zero.
        reserved: u16,
    }
}

row! {
    /// A host and the range of its routes.
    HostRow, 32, {
        /// Name, or the suffix of a wildcard, in the arena.
        name_offset: u32,
        /// Its bytes.
        name_length: u16,
        /// A [`HostKind`].
        kind: u8,
        /// A path policy: 0 strict, 1 merge, 2 as it is.
        path_policy: u8,
        /// First of its routes.
        route_first: u32,
        /// How many: exact paths, then prefixes, then templates, then `regex_count` expressions.
        route_count: u32,
        /// Bit `n` is set where a prefix of `n` segments exists.
        prefix_depths: u64,
        /// Root of its templates, or [`NONE`].
        template_root: u32,
        /// How many routes at the end of the range are expressions; they form one group.
        regex_count: u16,
        /// How far the path has to be followed: most segments of a prefix or of a template's literal beginning.
        depth: u8,
        /// 1 where it has exact paths.
        exact: u8,
    }
}

row! {
    /// A route. Routes with the same path form a group, in the order in which they are tried.
    RouteRow, 32, {
        /// [`crate::id::RouteId`].
        id: u64,
        /// Name in the arena.
        text_offset: u32,
        /// Its bytes.
        name_length: u16,
        /// Bytes of the path (exact and prefix alone); the end of the name or what follows it, see [`flag::PATH_IN_NAME`].
        path_length: u16,
        /// Methods as a set of [`crate::method`] bits; 0 takes all.
        methods: u16,
        /// [`flag`] bits and the [`PathKind`].
        flags: u16,
        /// Index into the chains.
        chain: u32,
        /// Index into the actions.
        action: u32,
        /// What only few routes have, or [`NONE`].
        extra: u32,
    }
}

row! {
    /// What only few routes have; equal ones are one.
    ExtraRow, 36, {
        /// First of the methods that have no bit.
        method_first: u32,
        /// First of the conditions on fields.
        header_first: u32,
        /// First of the conditions on parameters.
        query_first: u32,
        /// First of the template's variables.
        variable_first: u32,
        /// Index of the path's expression, or [`NONE`].
        path_regex: u32,
        /// Largest request body, or `u64::MAX` for the settings' own.
        body_bytes_max: u64,
        /// How many.
        method_count: u16,
        /// How many.
        header_count: u16,
        /// How many.
        query_count: u16,
        /// How many.
        variable_count: u16,
    }
}

row! {
    /// A condition on a field or a parameter.
    ConditionRow, 16, {
        /// Name in the arena.
        name_offset: u32,
        /// Value in the arena, or index of an expression.
        value: u32,
        /// Bytes of the name.
        name_length: u16,
        /// Bytes of the value.
        value_length: u16,
        /// A [`ConditionKind`].
        kind: u16,
        /// Zero.
        reserved: u16,
    }
}

row! {
    /// A variable of a template.
    VariableRow, 8, {
        /// Name in the arena.
        name_offset: u32,
        /// Its bytes.
        name_length: u16,
        /// Which segment of the path is its value, from 0.
        segment: u16,
    }
}

row! {
    /// A node of a host's templates: the path up to and with one segment.
    NodeRow, 24, {
        /// The node above, or [`NONE`] at a root.
        parent: u32,
        /// The segment in the arena; of no meaning at roots and variables.
        text_offset: u32,
        /// Its bytes.
        text_length: u16,
        /// 0: root, 1: literal, 2: variable.
        kind: u16,
        /// The node below that takes any segment, or [`NONE`].
        variable: u32,
        /// First route of the group whose path ends here, or [`NONE`].
        end: u32,
        /// First route of the group that takes whatever follows, or [`NONE`].
        rest: u32,
    }
}

row! {
    /// A credential.
    CredentialRow, 72, {
        /// HMAC of the key under the pepper.
        digest: [u8; 32],
        /// UUID from the store.
        id: u128,
        /// After this it is refused; `u64::MAX`: never.
        not_after_unix_ms: u64,
        /// Whose it is.
        application: u32,
        /// Which seal key the pepper derives from.
        pepper_id: u32,
        /// The visible prefix in the arena.
        prefix_offset: u32,
        /// Its bytes.
        prefix_length: u16,
        /// Zero.
        reserved: u16,
    }
}

row! {
    /// An application.
    ApplicationRow, 32, {
        /// UUID from the store.
        id: u128,
        /// Name in the arena.
        name_offset: u32,
        /// First of its credentials.
        credential_first: u32,
        /// How many.
        credential_count: u32,
        /// Bytes of the name.
        name_length: u16,
        /// Zero.
        reserved: u16,
    }
}

/// Bits of [`RouteRow::flags`].
pub mod flag {
    /// The three lowest bits are a [`super::PathKind`].
    pub const KIND: u16 = 0b111;
    /// The last route of its group.
    pub const GROUP_LAST: u16 = 1 << 3;
    /// Upgrade to WebSocket is allowed.
    pub const WEBSOCKET: u16 = 1 << 4;
    /// `%2F` in the path is allowed.
    pub const ENCODED_SLASH: u16 = 1 << 5;
    /// The path is the end of the name; without this and the next it follows the name in the arena.
    pub const PATH_IN_NAME: u16 = 1 << 6;
    /// The path is the end of the name but for its last two bytes, `/*`.
    pub const PATH_BEFORE_STAR: u16 = 1 << 7;
    /// gRPC-Web is translated into gRPC.
    pub const GRPC_WEB: u16 = 1 << 8;
    /// All that have a meaning.
    pub const ALL: u16 = (1 << 9) - 1;
}

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident: $repr:ty {$($(#[$variant_doc:meta])* $variant:ident = $value:literal,)*}) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr($repr)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $value,)*
        }

        impl $name {
            /// The kind with this number.
            #[must_use]
            #[inline]
            pub fn of(number: $repr) -> Option<Self> {
                match number {
                    $($value => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// What a host's name stands for.
    HostKind: u8 {
        /// This name.
        Exact = 0,
        /// One or more labels and this suffix.
        Wildcard = 1,
        /// Any other name.
        Any = 2,
    }
}

kinds! {
    /// What a route's path is.
    PathKind: u16 {
        /// These bytes.
        Exact = 0,
        /// These segments and whatever follows.
        Prefix = 1,
        /// A template that ends with its last segment.
        Template = 2,
        /// A template and whatever follows.
        TemplateRest = 3,
        /// An expression.
        Regex = 4,
    }
}

kinds! {
    /// What a condition asks of a value.
    ConditionKind: u16 {
        /// Equal bytes.
        Exact = 0,
        /// Being there.
        Present = 1,
        /// A match of an expression.
        Regex = 2,
    }
}

impl RouteRow {
    /// What its path is.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> Option<PathKind> {
        PathKind::of(self.flags & flag::KIND)
    }

    /// Where the path begins, counted from the name's first byte. It never reaches over the arena's end in a
    /// validated snapshot.
    #[must_use]
    #[inline]
    pub fn path_start(&self) -> u16 {
        if self.has(flag::PATH_IN_NAME) {
            self.name_length.saturating_sub(self.path_length)
        } else if self.has(flag::PATH_BEFORE_STAR) {
            self.name_length.saturating_sub(self.path_length).saturating_sub(2)
        } else {
            self.name_length
        }
    }

    /// Whether a flag is set.
    #[must_use]
    #[inline]
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(test)]
mod tests;
