//! Pickles of protocol 2.

use super::plain::Plain;

/// The pickle of a value.
///
/// [`Plain::Other`] is written as `None`.
pub fn write_plain(value: &Plain) -> Vec<u8> {
    let mut out = vec![0x80, 2];
    write(value, &mut out);
    out.push(b'.');
    out
}

fn write(value: &Plain, out: &mut Vec<u8>) {
    match value {
        Plain::None | Plain::Other => out.push(b'N'),
        Plain::Bool(value) => out.push(if *value { 0x88 } else { 0x89 }),
        Plain::Int(value) => int(*value, out),
        Plain::Float(value) => {
            out.push(b'G');
            out.extend(value.to_be_bytes());
        }
        Plain::Text(value) => text(value, out),
        Plain::Bytes(bytes) => {
            // Protocol 2 has no bytes; Python writes them as an encoded text, too.
            let latin: String = bytes.iter().map(|&byte| char::from(byte)).collect();
            call("_codecs", "encode", &[Plain::Text(latin), Plain::text("latin1")], out);
        }
        Plain::List(items) => {
            out.extend(b"](");
            items.iter().for_each(|item| write(item, out));
            out.push(b'e');
        }
        Plain::Tuple(items) => tuple(items, out),
        Plain::Dict(entries) => {
            out.extend(b"}(");
            for (key, value) in entries {
                write(key, out);
                write(value, out);
            }
            out.push(b'u');
        }
        Plain::Global(module, name) => global(module, name, out),
        Plain::Call(module, name, arguments) => call(module, name, arguments, out),
        Plain::Persistent(inner) => {
            write(inner, out);
            out.push(b'Q');
        }
    }
}

fn int(value: i64, out: &mut Vec<u8>) {
    if let Ok(byte) = u8::try_from(value) {
        out.extend([b'K', byte]);
    } else if let Ok(value) = i32::try_from(value) {
        out.push(b'J');
        out.extend(value.to_le_bytes());
    } else {
        out.extend([0x8a, 8]);
        out.extend(value.to_le_bytes());
    }
}

fn text(value: &str, out: &mut Vec<u8>) {
    out.push(b'X');
    out.extend((value.len() as u32).to_le_bytes());
    out.extend(value.as_bytes());
}

fn tuple(items: &[Plain], out: &mut Vec<u8>) {
    if items.is_empty() {
        out.push(b')');
        return;
    }
    out.push(b'(');
    items.iter().for_each(|item| write(item, out));
    out.push(b't');
}

fn global(module: &str, name: &str, out: &mut Vec<u8>) {
    out.extend(format!("c{module}\n{name}\n").as_bytes());
}

fn call(module: &str, name: &str, arguments: &[Plain], out: &mut Vec<u8>) {
    global(module, name, out);
    tuple(arguments, out);
    out.push(b'R');
}

#[cfg(test)]
mod tests {
    use super::super::plain::read_plain;
    use super::*;

    #[test]
    fn every_kind_of_value_comes_back() {
        let value = Plain::Dict(vec![
            (Plain::text("ints"), Plain::List([0, 255, 256, -1, 1 << 40, i64::MIN].map(Plain::Int).to_vec())),
            (Plain::Int(3), Plain::Tuple(vec![Plain::Float(-0.25), Plain::Bool(true), Plain::None])),
            (Plain::text("ü"), Plain::Bytes(vec![0, 127, 128, 255])),
            (Plain::text("empty"), Plain::Tuple(vec![])),
            (Plain::text("function"), Plain::Global("a.b".into(), "c".into())),
            (Plain::text("object"), Plain::Call("a".into(), "B".into(), vec![Plain::List(vec![])])),
            (Plain::text("storage"), Plain::Persistent(Box::new(Plain::text("0")))),
        ]);
        assert_eq!(read_plain(&write_plain(&value)).unwrap(), value);
    }

    #[test]
    fn bytes_are_those_of_python() {
        // pickle.dumps({"a": [1, -2]}, 2) without its memory opcodes.
        let value = Plain::dict([("a", Plain::List(vec![Plain::Int(1), Plain::Int(-2)]))]);
        let expected = b"\x80\x02}(X\x01\x00\x00\x00a](K\x01J\xfe\xff\xff\xffeu.";
        assert_eq!(write_plain(&value), expected);
    }
}
