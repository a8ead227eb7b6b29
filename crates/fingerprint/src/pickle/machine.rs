//! The stack machine of pickles, protocols 2 to 5.

use std::collections::HashMap;

use super::bytes::{Bytes, text};
use super::value::{Id, Pickle, Value};

/// Most values and most memory slots; nnU-Net's largest checkpoints need some hundred thousand.
const MOST: usize = 1 << 24;

/// Reads a pickle.
///
/// # Errors
/// It is cut off, uses what these protocols do not have, or holds too much.
pub fn read(bytes: &[u8]) -> Result<Pickle, String> {
    let mut machine = Machine {
        bytes: Bytes(bytes),
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    loop {
        let position = bytes.len() - machine.bytes.0.len();
        let code = machine.bytes.byte()?;
        if code == b'.' {
            let root = machine.pop()?;
            return Ok(Pickle { values: machine.values, root });
        }
        machine.step(code).map_err(|e| format!("at byte {position}: {e}"))?;
    }
}

struct Machine<'a> {
    bytes: Bytes<'a>,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack where containers began.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine<'_> {
    fn step(&mut self, code: u8) -> Result<(), String> {
        match code {
            // Protocol and frame.
            0x80 => match self.bytes.byte()? {
                2..=5 => Ok(()),
                other => Err(format!("protocol {other}, expected 2 to 5")),
            },
            0x95 => self.bytes.take(8).map(drop),
            // Stack.
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.pop_to_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            // Memory.
            b'q' => self.remember(1),
            b'r' => self.remember(4),
            0x94 => self.keep(self.memo.len() as u64),
            b'h' => self.recall(1),
            b'j' => self.recall(4),
            b'N' | 0x88 | 0x89 | b'J' | b'K' | b'M' | 0x8a | 0x8b | b'G' => self.number(code),
            b'X' | 0x8c | 0x8d | b'T' | b'U' | b'B' | b'C' | 0x8e | 0x96 => self.string(code),
            b')' | b't' | 0x85..=0x87 | b']' | b'l' | b'}' | b'd' | 0x8f | 0x91 => self.container(code),
            b'a' | b'e' | b's' | b'u' | 0x90 => self.fill(code),
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'b' | b'Q' => self.object(code),
            other => Err(format!("unknown opcode {other:#04x}")),
        }
    }

    fn number(&mut self, code: u8) -> Result<(), String> {
        let value = match code {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Int(i64::from(i32::from_le_bytes(self.bytes.array()?))),
            b'K' => Value::Int(i64::from(self.bytes.byte()?)),
            b'M' => Value::Int(i64::from(u16::from_le_bytes(self.bytes.array()?))),
            b'G' => Value::Float(f64::from_be_bytes(self.bytes.array()?)),
            _ => long(self.bytes.counted(if code == 0x8a { 1 } else { 4 })?),
        };
        self.push(value)
    }

    fn string(&mut self, code: u8) -> Result<(), String> {
        let value = match code {
            b'X' => Value::Text(text(self.bytes.counted(4)?)?.into()),
            0x8c => Value::Text(text(self.bytes.counted(1)?)?.into()),
            0x8d => Value::Text(text(self.bytes.counted(8)?)?.into()),
            b'U' | b'C' => Value::Bytes(self.bytes.counted(1)?.into()),
            b'T' | b'B' => Value::Bytes(self.bytes.counted(4)?.into()),
            _ => Value::Bytes(self.bytes.counted(8)?.into()),
        };
        self.push(value)
    }

    fn container(&mut self, code: u8) -> Result<(), String> {
        let value = match code {
            b')' => Value::Tuple(Vec::new()),
            b't' => Value::Tuple(self.pop_to_mark()?),
            0x85..=0x87 => {
                let mut items = vec![Id(0); usize::from(code - 0x84)];
                for item in items.iter_mut().rev() {
                    *item = self.pop()?;
                }
                Value::Tuple(items)
            }
            b']' => Value::List(Vec::new()),
            b'l' => Value::List(self.pop_to_mark()?),
            b'}' => Value::Dict(Vec::new()),
            b'd' => Value::Dict(pairs(&self.pop_to_mark()?)?),
            0x8f => Value::Opaque,
            _ => self.pop_to_mark().map(|_| Value::Opaque)?,
        };
        self.push(value)
    }

    /// Adds to the container below.
    fn fill(&mut self, code: u8) -> Result<(), String> {
        let mut items = match code {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_to_mark()?,
        };
        let top = self.top()?;
        let Some(target) = self.values.get_mut(top.0 as usize) else { return Ok(()) };
        match (target, code) {
            (Value::List(list), b'a' | b'e') => list.append(&mut items),
            (Value::Dict(entries), b's' | b'u') => entries.append(&mut pairs(&items)?),
            // What is not known keeps its contents to itself.
            (Value::Call { .. } | Value::Opaque, _) => {}
            _ => return Err("items for something that is no container".to_owned()),
        }
        Ok(())
    }

    fn object(&mut self, code: u8) -> Result<(), String> {
        match code {
            b'c' => {
                let (module, name) = (self.bytes.line()?, self.bytes.line()?);
                self.push(Value::Class(format!("{module} {name}").into()))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Some(module), Some(name)) = (self.text(module), self.text(name)) else {
                    return Err("a class without a name".to_owned());
                };
                self.push(Value::Class(format!("{module} {name}").into()))
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)
            }
            0x92 => {
                let (_, arguments, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(callable, arguments)
            }
            b'b' => {
                let (filled, object) = (self.pop()?, self.top()?);
                // Attributes of anything but the result of a call are left out.
                if let Some(Value::Call { state, .. }) = self.values.get_mut(object.0 as usize) {
                    *state = Some(filled);
                }
                Ok(())
            }
            _ => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))
            }
        }
    }

    /// Ordered dictionaries become dictionaries; other calls stay what they are.
    fn call(&mut self, callable: Id, arguments: Id) -> Result<(), String> {
        let dictionary = match self.values.get(callable.0 as usize) {
            Some(Value::Class(name)) => {
                matches!(&**name, "collections OrderedDict" | "collections defaultdict" | "builtins dict")
            }
            _ => false,
        };
        self.push(if dictionary {
            Value::Dict(Vec::new())
        } else {
            Value::Call { callable, arguments, state: None }
        })
    }

    fn text(&self, id: Id) -> Option<&str> {
        match self.values.get(id.0 as usize) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        if self.values.len() >= MOST {
            return Err(format!("more than {MOST} values"));
        }
        self.stack.push(Id(self.values.len() as u32));
        self.values.push(value);
        Ok(())
    }

    /// The top of the stack, above the last mark.
    fn top(&self) -> Result<Id, String> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.marks.last().copied().unwrap_or(0) => Ok(id),
            _ => Err("nothing on the stack".to_owned()),
        }
    }

    fn pop(&mut self) -> Result<Id, String> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("no mark on the stack")?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, width: usize) -> Result<(), String> {
        let slot = self.bytes.unsigned(width)?;
        self.keep(slot)
    }

    fn keep(&mut self, slot: u64) -> Result<(), String> {
        let id = self.top()?;
        if self.memo.len() >= MOST {
            return Err(format!("more than {MOST} values in memory"));
        }
        self.memo.insert(slot, id);
        Ok(())
    }

    fn recall(&mut self, width: usize) -> Result<(), String> {
        let slot = self.bytes.unsigned(width)?;
        let id = self.memo.get(&slot).ok_or_else(|| format!("nothing in memory under {slot}"))?;
        self.stack.push(*id);
        Ok(())
    }
}

/// A little-endian number with sign.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Opaque;
    }
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut all = [if negative { 0xff } else { 0 }; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(all))
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    if !items.len().is_multiple_of(2) {
        return Err("a dictionary with a key without value".to_owned());
    }
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pickle.dumps({"a": -200, "b": (1, 2.5, None), "c": "x", "d": ["x", True], "e": -2**40}, 2)`.
    const DICTIONARY: &[u8] = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01J8\xff\xff\xffX\x01\x00\x00\x00bq\x02K\x01G@\x04\
        \x00\x00\x00\x00\x00\x00N\x87q\x03X\x01\x00\x00\x00cq\x04X\x01\x00\x00\x00xq\x05X\x01\x00\x00\x00dq\x06]q\x07(h\
        \x05\x88eX\x01\x00\x00\x00eq\x08\x8a\x06\x00\x00\x00\x00\x00\xffu.";

    #[test]
    fn containers_and_numbers_are_read() {
        let pickle = read(DICTIONARY).unwrap();
        let value = |key: &str| pickle.get(pickle.entry(pickle.root(), key).unwrap());
        assert_eq!(value("a"), &Value::Int(-200));
        assert_eq!(value("e"), &Value::Int(-(1 << 40)));
        assert_eq!(value("c"), &Value::Text("x".into()));
        let Value::Tuple(items) = value("b") else { panic!("{:?}", value("b")) };
        let items: Vec<_> = items.iter().map(|&id| pickle.get(id).clone()).collect();
        assert_eq!(items, [Value::Int(1), Value::Float(2.5), Value::None]);
        let list = pickle.items(pickle.entry(pickle.root(), "d").unwrap()).unwrap();
        assert_eq!(pickle.text(list[0]), Some("x"));
        assert_eq!(pickle.get(list[1]), &Value::Bool(true));
    }

    #[test]
    fn a_container_that_is_shared_while_it_is_empty_is_filled_everywhere() {
        // x = []; pickle.dumps((x, x)) with the items appended between the two.
        let pickle = read(b"\x80\x02]q\x00K\x07ah\x00\x86.").unwrap();
        let both = pickle.items(pickle.root()).unwrap().to_vec();
        assert_eq!(both.iter().map(|&id| pickle.sizes(id).unwrap()).collect::<Vec<_>>(), [[7], [7]]);
    }

    #[test]
    fn calls_are_named_and_not_made() {
        let pickle = read(b"\x80\x02cposix\nsystem\nX\x05\x00\x00\x00false\x85R.").unwrap();
        let (name, arguments) = pickle.call(pickle.root()).unwrap();
        assert_eq!((name, pickle.text(arguments[0])), ("posix system", Some("false")));
    }

    #[test]
    fn no_cut_or_change_of_a_byte_panics() {
        let mut failures = 0;
        for end in 0..DICTIONARY.len() {
            assert!(read(&DICTIONARY[..end]).is_err());
            for byte in 0..=255 {
                let mut changed = DICTIONARY.to_vec();
                changed[end] = byte;
                failures += usize::from(read(&changed).is_err());
            }
        }
        assert!(failures > 1000, "{failures}");
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let mut bytes = b"\x80\x02N".to_vec();
        bytes.resize(1 << 20, 0x85);
        bytes.push(b'.');
        assert_eq!(read(&bytes).unwrap().values.len(), (1 << 20) - 2);
        assert!(read(b"\x80\x02X\xff\xff\xff\xffab.").unwrap_err().contains("4294967295 more bytes"));
    }
}
