//! Checkpoints: the restricted unpickler, safetensors, and what hostile files can make them take.

use interpix::Error;
use interpix::models::Checkpoint;
use safetensors::tensor::Dtype;

use super::memory::measured;
use super::models::temporary;

/// torch's old format with one tensor `w` = [[1, 2], [3, 4]], stored transposed; `global` rebuilds it.
fn old_format(global: &str) -> Vec<u8> {
    let mut file =
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec();
    file.extend(b"\x80\x02ccollections\nOrderedDict\n)RX\x01\0\0\0w");
    file.extend(
        format!("c{global}\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x005X\x03\0\0\0cpuK\x04NtQ")
            .bytes(),
    );
    file.extend(b"K\0K\x02K\x02\x86K\x01K\x02\x86\x89NtRs}b.\x80\x02]X\x01\0\0\x005a.");
    file.extend(4_i64.to_le_bytes());
    file.extend([1.0_f32, 3.0, 2.0, 4.0].iter().flat_map(|value| value.to_le_bytes()));
    file
}

const REBUILD: &str = "torch._utils\n_rebuild_tensor_v2";

#[test]
fn an_old_pickle_becomes_safetensors() {
    let source = temporary("old.pth");
    std::fs::write(&source, old_format(REBUILD)).unwrap();
    let bytes = Checkpoint::read("toy", &source).unwrap().to_safetensors().unwrap();
    std::fs::remove_file(source).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor("w").unwrap();
    let expected: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!((view.shape(), view.dtype(), view.data()), (&[2, 2][..], Dtype::F32, &expected[..]));
    let again = Checkpoint::from_bytes("toy", &bytes).unwrap();
    assert_eq!(again, Checkpoint::from_pickle("toy", &old_format(REBUILD)).unwrap());
}

#[test]
fn a_name_that_is_not_allowed_is_refused_by_name() {
    let error = Checkpoint::from_pickle("toy", &old_format("os\nsystem")).unwrap_err().to_string();
    assert!(error.contains("`os.system`") && error.contains("was not run"), "{error}");
}

#[test]
fn a_file_cut_short_anywhere_is_an_error() {
    let file = old_format(REBUILD);
    assert_eq!(Checkpoint::from_pickle("toy", &file).unwrap().len(), 1);
    for length in 0..file.len() {
        let error = Checkpoint::from_pickle("toy", &file[..length]).unwrap_err();
        assert!(matches!(error, Error::Model { .. }), "{length}: {error}");
    }
    let cut = Checkpoint::from_pickle("toy", &file[..file.len() - 1]).unwrap_err().to_string();
    assert!(cut.contains("truncated: 16 bytes are needed") && cut.contains("15 are left"), "{cut}");
}

#[test]
fn other_formats_are_told_apart() {
    let zip = Checkpoint::from_pickle("toy", b"PK\x03\x04").unwrap_err().to_string();
    assert!(zip.contains("zip format"), "{zip}");
    let noise = Checkpoint::from_pickle("toy", b"not a checkpoint").unwrap_err().to_string();
    assert!(noise.contains("neither safetensors nor torch's old pickle"), "{noise}");
}

/// A file whose state dict are the `entries` (opcodes that leave a name and a tensor), and its only storage, of `count`
/// numbers.
fn with_entries(entries: &[u8], count: u32) -> Vec<u8> {
    let mut file =
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec();
    file.extend(b"\x80\x02}(");
    file.extend(entries);
    file.extend(b"u.\x80\x02]X\x01\0\0\x005a.");
    file.extend(i64::from(count).to_le_bytes());
    file.resize(file.len() + 4 * count as usize, 0);
    file
}

fn name(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn long(number: i64) -> Vec<u8> {
    [&b"\x8a\x08"[..], &number.to_le_bytes()].concat()
}

fn numbers(numbers: &[i64]) -> Vec<u8> {
    [&b"("[..], &numbers.iter().flat_map(|&number| long(number)).collect::<Vec<_>>(), b"t"].concat()
}

/// The opcodes of a tensor in the storage of `count` numbers; remembered as number 9.
fn tensor(count: u32, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    tensor_of(count, &[long(offset), numbers(shape), numbers(strides)].concat())
}

/// The same; `place` leaves its offset, shape and strides.
fn tensor_of(count: u32, place: &[u8]) -> Vec<u8> {
    let storage = b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x005X\x03\0\0\0cpu";
    let rebuild = format!("c{REBUILD}\n").into_bytes();
    [&rebuild, &storage[..], &long(i64::from(count)), b"tQ", place, b"\x89NtRq\x09"].concat()
}

fn refusal(file: &[u8]) -> String {
    let (result, peak) = measured(|| Checkpoint::from_bytes("toy", file));
    assert!(peak <= bound(file), "{peak} bytes for a file of {}", file.len());
    result.unwrap_err().to_string()
}

/// Bytes that reading a file may take: all its tensors and a limited number of opcodes.
fn bound(file: &[u8]) -> usize {
    2 * file.len() + (24 << 20)
}

/// R10: 600 names for one remembered tensor made 2.4 GB of 4 MB.
#[test]
fn many_names_for_one_tensor_are_refused() {
    let mut entries = [name("w"), tensor(1 << 20, 0, &[1 << 20], &[1])].concat();
    for copy in 0..600 {
        entries.extend([name(&format!("w{copy}")), b"h\x09".to_vec()].concat());
    }
    let refused = refusal(&with_entries(&entries, 1 << 20));
    assert!(refused.contains("tensors overlap"), "{refused}");
}

/// R10: what a tensor says of itself is checked before anything is made of it.
#[test]
fn impossible_tensors_are_refused() {
    let huge = i64::MAX;
    for (offset, shape, strides, why) in [
        (0, &[huge, 4][..], &[4, 1][..], "reaches beyond"),
        (0, &[huge, huge], &[1, 1], "reaches beyond"),
        (0, &[4, 4], &[huge, 1], "reaches beyond"),
        (0, &[1 << 20], &[0], "reaches beyond"),
        (huge, &[4], &[1], "reaches beyond"),
        (0, &[4], &[-1], "-1 is not a size"),
        (-1, &[4], &[1], "-1 is not a size"),
        (0, &[-4], &[1], "-4 is not a size"),
        (0, &[4, 4], &[1], "other numbers of sizes"),
        (0, &[1; 9], &[1; 9], "9 dimensions"),
    ] {
        let entries = [name("w"), tensor(16, offset, shape, strides)].concat();
        let refused = refusal(&with_entries(&entries, 16));
        assert!(refused.contains(why), "{shape:?} {strides:?}: {refused}");
    }
    // Nothing at all takes nothing, however large it says that it is.
    let nothing = with_entries(&[name("w"), tensor(16, 0, &[0, 1 << 40], &[1, 1])].concat(), 16);
    assert_eq!(Checkpoint::from_bytes("toy", &nothing).unwrap().len(), 1);
}

/// R10: a file that no weights are as large as is not read at all.
#[test]
fn an_enormous_file_is_refused() {
    let path = temporary("enormous.safetensors");
    std::fs::File::create(&path).unwrap().set_len(1 << 32).unwrap();
    let refused = Checkpoint::read("toy", &path).unwrap_err().to_string();
    std::fs::remove_file(path).unwrap();
    assert!(refused.contains("at most 1073741824 bytes, got 4294967296; save"), "{refused}");
}

/// R10: one tuple that many tensors share, long texts that are compared again and again, nesting, sheer number.
#[test]
fn a_pickle_that_says_much_in_few_bytes_is_refused() {
    let sizes = b"K\x01".repeat(40_000);
    let whole = [name("w"), tensor(16, 0, &[4], &[1])].concat();
    let dimensions =
        [&name("w")[..], &tensor_of(16, &[&b"K\0("[..], &sizes, b"tq\x08h\x08"].concat())].concat();
    let deep = [&whole[..], &name("d"), b"N", &b"\x85".repeat(90_000)].concat();
    for (opcodes, why) in [
        (dimensions, "40000 dimensions"),
        (deep, "flat state dict"),
        (b"]".repeat(4_000_000), "more than 100000 opcodes"),
        (name(&"w".repeat(1_000_000)), "is longer than 1000"),
        ([b"c".to_vec(), vec![b'x'; 1_000_000], b"\n".to_vec()].concat(), "a name has no end"),
        ([&whole[..], &name("w"), b"h\x09"].concat(), "`w` is there twice"),
    ] {
        let refused = refusal(&with_entries(&opcodes, 16));
        assert!(refused.contains(why), "{refused}");
    }
}

/// R10: the same for safetensors, whose library checks that entries neither overlap nor leave gaps.
#[test]
fn safetensors_that_say_more_than_they_hold_are_refused() {
    let file = |header: &str, bytes: usize| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes());
        file.resize(file.len() + bytes, 0);
        file
    };
    let entry = |name: &str, shape: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let overlapping: Vec<_> =
        (0..3000).map(|index| entry(&format!("w{index}"), "[4096]", 0, 16384)).collect();
    let many: Vec<_> = (0..100_000).map(|index| entry(&format!("w{index}"), "[0]", 0, 0)).collect();
    for (header, bytes) in [
        (format!("{{{}}}", overlapping.join(",")), 16384),
        (format!("{{{}}}", many.join(",")), 8_000_000),
        (format!("{{{}}}", entry("w", "[4611686018427387904,4]", 0, 16)), 16),
        (format!("{{{}}}", entry("w", "[-4]", 0, 16)), 16),
        (format!("{{{}}}", entry("w", "[4]", 16, 0)), 16),
        (format!("{{{}}}", entry("w", "[4]", 0, 16)), 12),
        ("[".repeat(100_000), 16),
    ] {
        refusal(&file(&header, bytes));
    }
    refusal(&[&u64::MAX.to_le_bytes()[..], b"{}"].concat());
}

/// Numbers that change what a file says: sizes, strides, lengths, opcodes.
const TELLING: [&[u8]; 12] = [
    &[0xff; 8],
    &[0; 8],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0x8a, 8, 0, 0, 0, 0, 0, 0, 0, 0x80],
    b"h\x09",
    b"q\x09",
    b"(",
    b"t",
    b"R",
    b"u",
    b"}",
    b"\x87",
];

/// R10: a fixed number of mutations, the same each time; none makes it panic, or take more than a file of its size may.
#[test]
fn no_bytes_make_the_unpickler_panic_or_take_memory() {
    let mut seed = 1_u64;
    let mut below = |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % bound
    };
    let two = [name("a"), tensor(64, 2, &[3, 4], &[4, 1]), name("b"), tensor(64, 20, &[5, 1, 2], &[2, 2, 1])]
        .concat();
    let originals = [old_format(REBUILD), with_entries(&two, 64)];
    let mut read = 0;
    for _ in 0..20_000 {
        let mut file = originals[below(2)].clone();
        for _ in 0..=below(3) {
            let (from, length) = (below(file.len()), below(40));
            let to = (from + length).min(file.len());
            match below(4) {
                0 => file[from] = below(256) as u8,
                1 => drop(file.drain(from..to)),
                2 => file.extend_from_within(from..to),
                _ => {
                    let telling = TELLING[below(TELLING.len())];
                    let to = (from + telling.len() * below(2)).min(file.len());
                    file.splice(from..to, telling.iter().copied());
                }
            }
        }
        let (result, peak) = measured(|| Checkpoint::from_bytes("toy", &file));
        assert!(peak <= bound(&file), "{peak} bytes for a file of {}: {file:?}", file.len());
        match result {
            Ok(_) => read += 1,
            Err(error) => assert!(matches!(error, Error::Model { .. }), "{error}"),
        }
    }
    // Those whose numbers or names alone have changed; were there none, the others would say nothing.
    assert!((1000..15_000).contains(&read), "{read}");
}
