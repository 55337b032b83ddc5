//! What headers define: macros, enumerators, structures with their fields. A small parser of C declarations,
//! as far as the kernel's headers need one.

/// Prefixes of the constants that pepita-sys has all of.
const PREFIXES: [&str; 10] = [
    "BLK_ZONE_",
    "FUTEX2_",
    "IORING_",
    "IOSQE_",
    "IOU_",
    "IO_URING_",
    "IO_WQ_",
    "SOCKET_URING_",
    "UBLK",
    "ZCRX_",
];

/// Constants that it has a choice of.
const CONSTANTS: [&str; 39] = [
    "AT_FDCWD",
    "BLKCLOSEZONE",
    "BLKFINISHZONE",
    "BLKGETNRZONES",
    "BLKGETZONESZ",
    "BLKOPENZONE",
    "BLKREPORTZONE",
    "BLKREPORTZONEV2",
    "BLKRESETZONE",
    "MAP_ANONYMOUS",
    "MAP_POPULATE",
    "MAP_PRIVATE",
    "MAP_SHARED",
    "O_APPEND",
    "O_CLOEXEC",
    "O_CREAT",
    "O_DIRECT",
    "O_DIRECTORY",
    "O_DSYNC",
    "O_EXCL",
    "O_NONBLOCK",
    "O_RDONLY",
    "O_RDWR",
    "O_TRUNC",
    "O_WRONLY",
    "PROT_NONE",
    "PROT_READ",
    "PROT_WRITE",
    "SPLICE_F_FD_IN_FIXED",
    "__NR_close",
    "__NR_exit_group",
    "__NR_io_uring_enter",
    "__NR_io_uring_register",
    "__NR_io_uring_setup",
    "__NR_mmap",
    "__NR_munmap",
    "__NR_openat",
    "__NR_read",
    "__NR_write",
];

/// Prefixes of the structures that it has all of.
const STRUCT_PREFIXES: [&str; 4] = ["blk_zone", "io_uring_", "ublk", "zcrx_"];

/// Structures that it has a choice of.
const STRUCTS: [&str; 7] = [
    "__kernel_timespec",
    "futex_waitv",
    "io_cqring_offsets",
    "io_sqring_offsets",
    "io_timespec",
    "iovec",
    "open_how",
];

/// A structure and the names of its fields, those of members without a name included.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Struct {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
}

/// A field; an array without a length has no size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) sized: bool,
}

/// Whether pepita-sys is to have the constant `name`.
fn wanted_constant(name: &str) -> bool {
    let errno = name.starts_with('E') && !name.contains('_') && name.len() > 2;
    errno || CONSTANTS.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The wanted constants among macros, as `gcc -E -dM` lists them: those without parameters.
pub(super) fn macros(listing: &str) -> Vec<String> {
    let definitions = listing
        .lines()
        .filter_map(|line| line.strip_prefix("#define "));
    let with_value = definitions.filter_map(|definition| definition.split_once(' '));
    with_value
        .filter(|(name, value)| !name.contains('(') && !value.trim().is_empty())
        .map(|(name, _)| name)
        .filter(|name| wanted_constant(name))
        .map(str::to_owned)
        .collect()
}

/// The wanted enumerators and structures in preprocessed C.
pub(super) fn declarations(text: &str) -> (Vec<String>, Vec<Struct>) {
    let tokens = tokens(text);
    let (mut enumerators, mut structs) = (Vec::new(), Vec::new());
    for index in 0..tokens.len() {
        match tokens[index..] {
            ["enum", "{", ..] => enumerators.extend(enumerators_from(&tokens[index + 2..])),
            ["enum", _, "{", ..] => enumerators.extend(enumerators_from(&tokens[index + 3..])),
            ["struct", name, "{", ..] if wanted_struct(name) => {
                let (fields, _) = fields_from(&tokens[index + 3..]);
                structs.push(Struct {
                    name: name.to_owned(),
                    fields,
                });
            }
            _ => {}
        }
    }
    enumerators.retain(|name| wanted_constant(name));
    (enumerators, structs)
}

fn wanted_struct(name: &str) -> bool {
    let prefixed = STRUCT_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix));
    prefixed || STRUCTS.contains(&name)
}

/// Words, and every other character by itself.
fn tokens(text: &str) -> Vec<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = if word(first) {
            rest.find(|c| !word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    tokens
}

/// The names in an enumeration, whose opening brace is behind.
fn enumerators_from(tokens: &[&str]) -> Vec<String> {
    let body = tokens.split(|token| *token == "}").next();
    let mut names = Vec::new();
    let (mut depth, mut at_start) = (0_u32, true);
    for token in body.unwrap_or_default() {
        match *token {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            "," if depth == 0 => at_start = true,
            name if at_start => {
                names.push(name.to_owned());
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

/// The fields of a structure, whose opening brace is behind, and how many tokens it takes with its closing one.
fn fields_from(tokens: &[&str]) -> (Vec<Field>, usize) {
    let mut fields = Vec::new();
    let mut index = 0;
    while index < tokens.len() && tokens[index] != "}" {
        let brace = match tokens[index..] {
            ["struct" | "union", "{", ..] => Some(2),
            ["struct" | "union", _, "{", ..] => Some(3),
            _ => None,
        };
        let inner = brace.map(|brace| {
            let (inner, taken) = fields_from(&tokens[index + brace..]);
            index += brace + taken;
            inner
        });
        let end = tokens[index..]
            .iter()
            .position(|token| *token == ";")
            .map_or(tokens.len(), |end| index + end);
        let own = declared(&tokens[index..end], inner.is_some());
        // A member without a name lends its fields to the structure around it.
        fields.extend(own.map_or_else(|| inner.unwrap_or_default(), |field| vec![field]));
        index = end + 1;
    }
    fields.retain(|field| !field.name.starts_with("__empty_"));
    (fields, index + 1)
}

/// The field that a declaration makes, from its tokens up to the semicolon.
fn declared(tokens: &[&str], after_brace: bool) -> Option<Field> {
    let tokens = without_attributes(tokens);
    let bracket = tokens.iter().position(|token| *token == "[");
    let name = tokens[..bracket.unwrap_or(tokens.len())].last()?;
    // Behind a type there is a name; a body in braces may have none.
    if !after_brace && tokens.len() < 2 {
        return None;
    }
    let length = bracket.map(|bracket| tokens[bracket + 1]);
    Some(Field {
        name: (*name).to_owned(),
        sized: !matches!(length, Some("]" | "0")),
    })
}

/// `tokens` without `__attribute__((…))`, which may stand before a name or behind it.
fn without_attributes<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    let mut kept = Vec::new();
    let (mut depth, mut attribute) = (0_u32, false);
    for token in tokens {
        attribute |= *token == "__attribute__";
        match *token {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if !attribute {
            kept.push(*token);
        }
        attribute &= depth > 0 || *token == "__attribute__";
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_members_without_a_name_are_the_structures_own() {
        let text = "struct io_uring_x { __u8 a; union { __u64 b; struct { __u32 c; __u32 d[2]; }; } \
                    __attribute__((packed)); struct { __u32 inner; } e; __u8 f[]; __u8 g[0]; \
                    __u64 __attribute__((aligned(8))) h; };";
        let (_, structs) = declarations(text);
        let fields: Vec<(&str, bool)> = structs[0]
            .fields
            .iter()
            .map(|field| (field.name.as_str(), field.sized))
            .collect();
        let want = [
            ("a", true),
            ("b", true),
            ("c", true),
            ("d", true),
            ("e", true),
            ("f", false),
            ("g", false),
            ("h", true),
        ];
        assert_eq!(fields, want);
    }

    #[test]
    fn wanted_enumerators_are_found_whatever_their_value() {
        let text = "enum { IORING_A, OTHER = 3, IORING_B = (1U << 2), __IORING_LAST }; enum x { ZCRX_C = 1 };";
        assert_eq!(declarations(text).0, ["IORING_A", "IORING_B", "ZCRX_C"]);
    }

    #[test]
    fn wanted_macros_are_those_with_a_value_and_without_parameters() {
        let listing = "#define IORING_A (1U << 0)\n#define IORING_B\n#define UBLK_C(x) x\n#define ENOENT 2\n\
                       #define EM_ARM 40\n#define LINUX 1\n";
        assert_eq!(macros(listing), ["IORING_A", "ENOENT"]);
    }
}
