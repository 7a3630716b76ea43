//! Reads torch's old (non-zip) checkpoint format without running anything that is in it.
//!
//! Such a file is five pickles (magic number, protocol version, system information, the state dict, the storages' keys)
//! and then the storages: an int64 count and the raw elements of each (`torch/serialization.py`, `_legacy_save`).
//!
//! A pickle is a program for a stack machine, and an ordinary unpickler calls whatever function it names. This one
//! knows the few opcodes that a state dict needs and the few names in [`Global`]; everything else is refused by name.
//! Containers live in an arena and refer to each other by index, so neither nesting nor cycles can exhaust the stack.
//!
//! A pickle can also say much in few bytes: one tensor under many names, a tuple in a tuple in a tuple. What is read is
//! therefore limited in number ([`MAX_OPCODES`], [`MAX_DIMENSIONS`], [`MAX_TEXT`]), and the tensors together are never
//! larger than the file.

use std::collections::HashMap;
use std::rc::Rc;

use super::tensors::{Data, Entries, Entry};

/// `torch.serialization.MAGIC_NUMBER`, little endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// `torch.serialization.PROTOCOL_VERSION`.
const PROTOCOL: i64 = 1001;

/// Opcodes of all pickles together; a state dict takes some 35 for each of its tensors.
const MAX_OPCODES: usize = 100_000;
/// Dimensions of a tensor; a convolution's weights have 4.
const MAX_DIMENSIONS: usize = 8;
/// Bytes of a name or another text.
const MAX_TEXT: usize = 1000;

/// A failure in words; the caller adds whose file it is.
pub(super) type Outcome<T> = std::result::Result<T, String>;

/// Reads the state dict in `bytes`, a file in torch's old pickle format.
pub(super) fn read_pickle(bytes: &[u8]) -> Outcome<Entries> {
    if bytes.starts_with(b"PK") {
        return Err("this is torch's zip format; save it as safetensors instead".to_owned());
    }
    let mut input = Input { bytes, position: 0 };
    let mut machine = Machine::default();
    match machine.run(&mut input) {
        Ok(Value::Magic) => {}
        _ => return Err("this is neither safetensors nor torch's old pickle format".to_owned()),
    }
    if !matches!(machine.run(&mut input)?, Value::Int(PROTOCOL)) {
        return Err(format!("expected torch's protocol {PROTOCOL}"));
    }
    machine.run(&mut input)?;
    let state = machine.run(&mut input)?;
    let keys = machine.run(&mut input)?;
    let storages = machine.storages(keys, &mut input)?;
    machine.state_dict(&state, &storages, bytes.len())
}

struct Input<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Outcome<&'a [u8]> {
        let rest = &self.bytes[self.position..];
        let taken = rest.get(..count).ok_or_else(|| {
            format!("truncated: {count} bytes are needed at byte {}, {} are left", self.position, rest.len())
        })?;
        self.position += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("N bytes were taken"))
    }

    fn byte(&mut self) -> Outcome<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Outcome<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn line(&mut self) -> Outcome<&'a str> {
        let rest = &self.bytes[self.position..];
        let length = rest.iter().take(MAX_TEXT).position(|&byte| byte == b'\n').ok_or("a name has no end")?;
        let line = self.take(length)?;
        self.position += 1;
        text(line)
    }
}

fn text(bytes: &[u8]) -> Outcome<&str> {
    std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8".to_owned())
}

/// The only names that a checkpoint may use.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Global {
    OrderedDict,
    RebuildTensor,
    FloatStorage,
    LongStorage,
}

impl Global {
    fn named(module: &str, name: &str) -> Outcome<Self> {
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Self::RebuildTensor),
            ("torch", "FloatStorage") => Ok(Self::FloatStorage),
            ("torch", "LongStorage") => Ok(Self::LongStorage),
            _ => {
                Err(format!("it asks for `{module}.{name}`, which is not on the allow-list and was not run"))
            }
        }
    }

    /// Bytes of an element, for the storages.
    fn element_size(self) -> Outcome<usize> {
        match self {
            Self::FloatStorage => Ok(4),
            Self::LongStorage => Ok(8),
            Self::OrderedDict | Self::RebuildTensor => Err(format!("{self:?} is not a storage")),
        }
    }
}

/// Where in which storage a tensor lies; offset and strides count elements.
#[derive(Debug, Clone)]
struct Tensor {
    storage: Rc<str>,
    kind: Global,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

#[derive(Debug, Clone)]
enum Value {
    None,
    Bool,
    Int(i64),
    Magic,
    Text(Rc<str>),
    Global(Global),
    /// A tuple, list or dict (keys and values in turn): its place in the arena.
    Items(usize),
    Storage(Rc<str>, Global),
    Tensor(Rc<Tensor>),
}

#[derive(Default)]
struct Machine {
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    arena: Vec<Vec<Value>>,
    opcodes: usize,
    /// Type and element count of each storage that was named.
    storages: HashMap<Rc<str>, (Global, usize)>,
}

impl Machine {
    /// Runs one pickle and returns what it left.
    fn run(&mut self, input: &mut Input<'_>) -> Outcome<Value> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            let at = input.position;
            self.opcodes += 1;
            if self.opcodes > MAX_OPCODES {
                return Err(format!("its pickles have more than {MAX_OPCODES} opcodes"));
            }
            match input.byte()? {
                b'.' => return self.pop(),
                0x80 => _ = input.byte()?,
                b'q' => self.remember(u32::from(input.byte()?))?,
                b'r' => self.remember(input.u32()?)?,
                b'h' => self.recall(u32::from(input.byte()?))?,
                b'j' => self.recall(input.u32()?)?,
                opcode => {
                    if !self.literal(opcode, input)?
                        && !self.container(opcode)?
                        && !self.object(opcode, input)?
                    {
                        return Err(format!(
                            "pickle opcode {opcode:#04x} at byte {at} is not on the allow-list"
                        ));
                    }
                }
            }
        }
    }

    /// Numbers, texts and constants.
    fn literal(&mut self, opcode: u8, input: &mut Input<'_>) -> Outcome<bool> {
        let value = match opcode {
            b'N' => Value::None,
            0x88 | 0x89 => Value::Bool,
            b'K' => Value::Int(i64::from(input.byte()?)),
            b'M' => Value::Int(i64::from(u16::from_le_bytes(input.array()?))),
            b'J' => Value::Int(i64::from(i32::from_le_bytes(input.array()?))),
            0x8a => long(input)?,
            b'X' => {
                let length = input.u32()? as usize;
                if length > MAX_TEXT {
                    return Err(format!("a text of {length} bytes is longer than {MAX_TEXT}"));
                }
                Value::Text(text(input.take(length)?)?.into())
            }
            _ => return Ok(false),
        };
        self.stack.push(value);
        Ok(true)
    }

    /// Tuples, lists and dicts.
    fn container(&mut self, opcode: u8) -> Outcome<bool> {
        match opcode {
            b'(' => self.marks.push(self.stack.len()),
            b')' | b']' | b'}' => self.push_items(Vec::new()),
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.push_items(items);
            }
            b't' => {
                let items = self.pop_marked()?;
                self.push_items(items);
            }
            b'a' => {
                let items = self.pop_many(1)?;
                self.extend(items)?;
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.extend(items)?;
            }
            b'e' | b'u' => {
                let items = self.pop_marked()?;
                self.extend(items)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Names, calls and references to storages.
    fn object(&mut self, opcode: u8, input: &mut Input<'_>) -> Outcome<bool> {
        match opcode {
            b'c' => {
                let global = Global::named(input.line()?, input.line()?)?;
                self.stack.push(Value::Global(global));
            }
            b'R' => self.call()?,
            // The attributes of an OrderedDict are torch's version notes; nobody needs them.
            b'b' => _ = self.pop()?,
            b'Q' => self.storage()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn call(&mut self) -> Outcome<()> {
        let arguments = self.pop()?;
        match self.pop()? {
            Value::Global(Global::OrderedDict) => self.push_items(Vec::new()),
            Value::Global(Global::RebuildTensor) => {
                let tensor = self.tensor(&arguments)?;
                self.stack.push(Value::Tensor(Rc::new(tensor)));
            }
            other => return Err(format!("{other:?} was called")),
        }
        Ok(())
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`.
    fn tensor(&self, arguments: &Value) -> Outcome<Tensor> {
        let [Value::Storage(storage, kind), Value::Int(offset), size, stride, ..] = self.items(arguments)?
        else {
            return Err("a tensor has unexpected parts".to_owned());
        };
        let (shape, strides) = (self.sizes(size)?, self.sizes(stride)?);
        if shape.len() != strides.len() {
            return Err("a tensor has other numbers of sizes and strides".to_owned());
        }
        Ok(Tensor { storage: storage.clone(), kind: *kind, offset: size_of(*offset)?, shape, strides })
    }

    /// `("storage", type, key, device, count[, view])`; a view into another storage was given up by torch long ago.
    fn storage(&mut self) -> Outcome<()> {
        let arguments = self.pop()?;
        let [Value::Text(tag), Value::Global(kind), Value::Text(key), _, Value::Int(count), rest @ ..] =
            self.items(&arguments)?
        else {
            return Err("a storage has unexpected parts".to_owned());
        };
        if &**tag != "storage" || !matches!(rest, [] | [Value::None]) {
            return Err("a storage is of an unknown kind".to_owned());
        }
        let (key, kind, count) = (key.clone(), *kind, size_of(*count)?);
        kind.element_size()?;
        self.storages.insert(key.clone(), (kind, count));
        self.stack.push(Value::Storage(key, kind));
        Ok(())
    }

    /// The raw elements behind the pickles, by key.
    fn storages<'a>(&self, keys: Value, input: &mut Input<'a>) -> Outcome<HashMap<Rc<str>, &'a [u8]>> {
        let mut found = HashMap::new();
        for key in self.items(&keys)? {
            let Value::Text(key) = key else { return Err("a storage's key is not a text".to_owned()) };
            let &(kind, named) = self.storages.get(key).ok_or("a storage belongs to no tensor")?;
            let count = size_of(i64::from_le_bytes(input.array()?))?;
            if count != named {
                return Err(format!("storage {key} has {count} elements instead of {named}"));
            }
            let length = count.checked_mul(kind.element_size()?).ok_or("a storage is larger than memory")?;
            found.insert(key.clone(), input.take(length)?);
        }
        Ok(found)
    }

    fn state_dict(
        &self,
        state: &Value,
        storages: &HashMap<Rc<str>, &[u8]>,
        file_size: usize,
    ) -> Outcome<Entries> {
        let mut entries = HashMap::new();
        let mut left = file_size;
        for pair in self.items(state)?.chunks(2) {
            let [Value::Text(name), Value::Tensor(tensor)] = pair else {
                return Err("it is not a flat state dict of tensors".to_owned());
            };
            let bytes = storages.get(&tensor.storage).ok_or_else(|| format!("`{name}` has no storage"))?;
            let size = tensor
                .elements_of(bytes.len() / tensor.kind.element_size()?)
                .ok_or_else(|| format!("`{name}` reaches beyond its storage"))?;
            left = left
                .checked_sub(size * tensor.kind.element_size()?)
                .ok_or("its tensors overlap: together they are larger than the file")?;
            if entries.insert((**name).to_owned(), entry(tensor, bytes, size)).is_some() {
                return Err(format!("`{name}` is there twice"));
            }
        }
        Ok(entries)
    }

    fn sizes(&self, value: &Value) -> Outcome<Vec<usize>> {
        let size = |item: &Value| match item {
            Value::Int(size) => size_of(*size),
            other => Err(format!("{other:?} is not a size")),
        };
        let items = self.items(value)?;
        if items.len() > MAX_DIMENSIONS {
            return Err(format!("a tensor has {} dimensions, more than {MAX_DIMENSIONS}", items.len()));
        }
        items.iter().map(size).collect()
    }

    fn items(&self, value: &Value) -> Outcome<&[Value]> {
        match value {
            Value::Items(index) => Ok(&self.arena[*index]),
            other => Err(format!("{other:?} is not a container")),
        }
    }

    fn push_items(&mut self, items: Vec<Value>) {
        self.stack.push(Value::Items(self.arena.len()));
        self.arena.push(items);
    }

    fn extend(&mut self, items: Vec<Value>) -> Outcome<()> {
        match self.stack.last() {
            Some(Value::Items(index)) => self.arena[*index].extend(items),
            other => return Err(format!("items are added to {other:?}")),
        }
        Ok(())
    }

    fn pop(&mut self) -> Outcome<Value> {
        self.stack.pop().ok_or_else(|| "the pickle's stack is empty".to_owned())
    }

    fn pop_many(&mut self, count: usize) -> Outcome<Vec<Value>> {
        let from = self.stack.len().checked_sub(count).ok_or("the pickle's stack is too short")?;
        Ok(self.stack.split_off(from))
    }

    fn pop_marked(&mut self) -> Outcome<Vec<Value>> {
        let from = self.marks.pop().filter(|&from| from <= self.stack.len()).ok_or("a mark is missing")?;
        Ok(self.stack.split_off(from))
    }

    fn remember(&mut self, slot: u32) -> Outcome<()> {
        let value = self.stack.last().cloned().ok_or("nothing to remember")?;
        self.memo.insert(slot, value);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Outcome<()> {
        let value = self.memo.get(&slot).cloned().ok_or("a forgotten value is recalled")?;
        self.stack.push(value);
        Ok(())
    }
}

/// A long integer: torch writes only its magic number like this.
fn long(input: &mut Input<'_>) -> Outcome<Value> {
    let length = usize::from(input.byte()?);
    let digits = input.take(length)?;
    if digits == MAGIC {
        return Ok(Value::Magic);
    }
    let mut bytes = if digits.last().is_some_and(|&byte| byte >= 0x80) { [0xff; 8] } else { [0; 8] };
    bytes.get_mut(..length).ok_or("an integer has more than 64 bits")?.copy_from_slice(digits);
    Ok(Value::Int(i64::from_le_bytes(bytes)))
}

fn size_of(value: i64) -> Outcome<usize> {
    usize::try_from(value).map_err(|_| format!("{value} is not a size"))
}

impl Tensor {
    /// Number of its elements; `None` if it reaches beyond the `available` ones of its storage, or has more.
    fn elements_of(&self, available: usize) -> Option<usize> {
        let mut count = 1_usize;
        let mut last = self.offset;
        for (&length, &stride) in self.shape.iter().zip(&self.strides) {
            count = count.checked_mul(length)?;
            last = last.checked_add(length.saturating_sub(1).checked_mul(stride)?)?;
        }
        (count == 0 || count <= available && last < available).then_some(count)
    }

    /// The place in the storage of its element `index` in row-major order.
    fn place(&self, index: usize) -> usize {
        let mut rest = index;
        let mut place = self.offset;
        for (&length, &stride) in self.shape.iter().zip(&self.strides).rev() {
            place += rest % length * stride;
            rest /= length;
        }
        place
    }
}

/// The `count` elements of `tensor` in its storage's `bytes`, in row-major order.
fn entry(tensor: &Tensor, bytes: &[u8], count: usize) -> Entry {
    let places = (0..count).map(|index| tensor.place(index));
    let data = if tensor.kind == Global::LongStorage {
        let elements = bytes.as_chunks().0;
        Data::I64(places.map(|place| i64::from_le_bytes(elements[place])).collect())
    } else {
        let elements = bytes.as_chunks().0;
        Data::F32(places.map(|place| f32::from_le_bytes(elements[place])).collect())
    };
    Entry { shape: tensor.shape.clone(), data }
}
