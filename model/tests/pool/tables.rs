//! Pools from tables in various notations, and tables that are refused.

use std::path::PathBuf;

use l4sllm_model::pool::{ActionCodes, CsvReader, TableOptions};

use super::*;

struct Tables {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Tables {
    fn new() -> Tables {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool.csv");
        Tables { _dir: dir, path }
    }

    fn open(&self, text: &[u8], actions: Option<ActionCodes>) -> Result<CsvReader, PoolError> {
        std::fs::write(&self.path, text).unwrap();
        let options = TableOptions {
            scenario: "table",
            reward: Reward::default(),
            actions,
        };
        CsvReader::open(&self.path, options)
    }

    /// All episodes, or the error.
    fn read(&self, text: &[u8], actions: Option<ActionCodes>) -> Result<Vec<Rows>, String> {
        let mut table = self.open(text, actions).map_err(|e| e.to_string())?;
        let mut all = Vec::new();
        loop {
            match table.next() {
                Ok(Some(rows)) => all.push(rows),
                Ok(None) => return Ok(all),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn actions(&self, text: &str, actions: Option<ActionCodes>) -> Result<Vec<u8>, String> {
        let episodes = self.read(text.as_bytes(), actions)?;
        Ok(episodes.into_iter().flat_map(|rows| rows.action).collect())
    }
}

#[test]
fn tables_are_read_by_their_header() {
    let tables = Tables::new();
    // The authors' header and two of their rows.
    let header = "queue_type,burst_allowance,drop_probability,current_queue_delay,\
                  accumulated_probability,length_in_bytes,packet_length,action,reward,done";
    let row = "0,15000,290706560,370000,19603243008,268560,52,1,0.00014016172506738545,0";
    let text = format!("{header}\n{row}\n\n{row}\n");
    let mut table = tables.open(text.as_bytes(), None).unwrap();
    assert_eq!(table.schema(), &Schema::new(Feature::PAPER7, false, false));
    let rows = table.next().unwrap().unwrap();
    assert_eq!((rows.len(), rows.action[1], rows.done[1]), (2, 1, false));
    assert_eq!(rows.reward[0], 0.00014016172506738545);
    assert!(table.next().unwrap().is_none());

    // The authors' table of a log: an index, an action, no reward.
    let text = ",packet_length,current_queue_delay,dequeue_action\n0,1500,0,2\n1,52,370000,0.0\n";
    let mut table = tables.open(text.as_bytes(), None).unwrap();
    assert_eq!(table.ignored(), [""]);
    let rows = table.next().unwrap().unwrap();
    assert_eq!(rows.action, [2, 0]);
    assert_eq!(rows.reward, [1.5, 0.00014016172506738545]);
}

#[test]
fn reads_unambiguous_tables() {
    let tables = Tables::new();
    let plain = "packet_length,action,reward,scenario\n1500,2,1.5,\"a\"\n40,0,1,\"b, c\"\n";
    let want = tables.read(plain.as_bytes(), None).unwrap();
    assert_eq!(want[0].features, [[1500.0, 40.0]]);
    assert_eq!(want[0].reward, [1.5, 1.0]);
    let separated = |by: &str| {
        let lines = [
            "packet_length;action;reward;scenario",
            "1500;2;1.5;a",
            "40;0;1;\"b, c\"",
        ];
        lines.join("\n").replace(';', by)
    };
    let utf16 = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let marked = format!("\u{feff}{plain}");
        marked.encode_utf16().flat_map(bytes).collect()
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, plain.as_bytes()).unwrap();
    for (what, text) in [
        ("semicolons", separated(";").into_bytes()),
        ("tabs", separated("\t").into_bytes()),
        ("Excel", format!("sep=;\r\n{}", separated(";")).into_bytes()),
        (
            "Excel, tabs",
            format!("\u{feff}sep=\t\n{}", separated("\t")).into_bytes(),
        ),
        ("bars", separated("|").into_bytes()),
        ("CR LF", plain.replace('\n', "\r\n").into_bytes()),
        ("CR", plain.replace('\n', "\r").into_bytes()),
        ("no end of the last line", plain.trim_end().into()),
        ("UTF-8 mark", format!("\u{feff}{plain}").into_bytes()),
        ("UTF-16 LE", utf16(u16::to_le_bytes)),
        ("UTF-16 BE", utf16(u16::to_be_bytes)),
        (
            "upper case",
            plain.replacen("action", "ACTION", 1).into_bytes(),
        ),
        (
            "words",
            plain
                .replacen("packet_length", "Packet Length", 1)
                .into_bytes(),
        ),
        (
            "comments",
            format!("# a table, of mine\n\n{plain}# end\n").into_bytes(),
        ),
        ("numpy.savetxt", format!("# {plain}").into_bytes()),
        ("quotes", plain.replace("1500", "\" 1500 \"").into_bytes()),
        ("exponents", plain.replace("1500", "1.5e+03").into_bytes()),
        ("gzip", gzip.finish().unwrap()),
    ] {
        assert_eq!(tables.read(&text, None).as_ref(), Ok(&want), "{what}");
    }
}

#[test]
fn names_and_values_show_how_actions_are_coded() {
    let tables = Tables::new();
    let table = |name: &str, codes: [u8; 3]| {
        let rows = codes.map(|code| format!("{code},1500,0\n")).concat();
        format!("{name},packet_length,current_queue_delay\n{rows}")
    };
    let logged = |codes| table("dequeue_action", codes);
    let read = |text: String| tables.actions(&text, None);
    assert_eq!(read(table("action", [1, 1, 2])), Ok(vec![1, 1, 2]));
    assert_eq!(read(logged([1, 2, 0])), Ok(vec![1, 2, 0]));
    assert_eq!(read(logged([1, 2, 3])), Ok(vec![0, 1, 2]));
    let error = read(logged([1, 2, 1])).unwrap_err();
    assert!(
        error.contains(":4: column dequeue_action: neither 0 nor 3 in 3 rows"),
        "{error}"
    );
    assert!(
        error.contains("--actions-from 0 or --actions-from 1"),
        "{error}"
    );
    for (cell, says) in [
        (
            "1.5",
            r#":3: column dequeue_action: "1.5", expected a whole number from 0 to 3"#,
        ),
        (
            "True",
            r#":3: column dequeue_action: "True", expected a whole number from 0 to 3"#,
        ),
        (
            "",
            r#":3: column dequeue_action: "", expected a whole number from 0 to 3"#,
        ),
        ("1,9", ":3: 4 cells, expected 3"),
    ] {
        let text = logged([1, 2, 1]).replacen("\n2,", &format!("\n{cell},"), 1);
        let error = read(text).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    let given = |codes, from| tables.actions(&logged(codes), Some(from));
    assert_eq!(given([1, 2, 1], ActionCodes::FromOne), Ok(vec![0, 1, 0]));
    assert_eq!(given([1, 2, 1], ActionCodes::FromZero), Ok(vec![1, 2, 1]));
    for (text, says) in [
        (
            logged([3, 2, 0]),
            r#":4: column dequeue_action: "0", expected a whole number from 1 to 3"#,
        ),
        (
            logged([0, 2, 3]),
            r#":4: column dequeue_action: "3", expected a whole number from 0 to 2"#,
        ),
        (
            table("action", [1, 2, 3]),
            r#":4: column action: "3", expected a whole number from 0 to 2"#,
        ),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn names_table_faults() {
    let tables = Tables::new();
    let long = format!("action,reward\n0,{}\n", "9".repeat(5000));
    for (text, says) in [
        (
            "packet_length,reward\n",
            "without a column action; expected a header",
        ),
        ("action,action\n", ":1: column action: twice"),
        ("# x\naction,Action\n", ":2: column action: twice"),
        (
            "action\n0\n",
            ":1: column packet_length: missing in the header, but required",
        ),
        (
            "action,reward\n0,nan\n",
            r#":2: column reward: "nan", expected a finite number"#,
        ),
        ("action,reward\n0\n", ":2: 1 cells, expected 2"),
        (
            "action,reward,done\n0,1,2\n",
            r#":2: column done: "2", expected 0 or 1"#,
        ),
        ("", ":1: empty, expected a header"),
        (
            "action;reward\n0;1,5\n",
            r#":2: column reward: "1,5", expected a finite number (a decimal comma: write 1.5)"#,
        ),
        (
            "# c\r\n\r\naction,reward,current_queue_delay\r\n0,1,1\r\n# c\r\n0,1,-1000\r\n",
            r#":6: column current_queue_delay: "-1000", expected 0 to 4294967295"#,
        ),
        (
            "action,reward,packet_length\r0,1,1\r0,1,65536\r",
            r#":3: column packet_length: "65536", expected 1 to 65535"#,
        ),
        (
            "action,reward,ecn\n0,1,1.5\n",
            r#":2: column ecn: "1.5", expected a whole number from 0 to 3"#,
        ),
        (
            "action,reward,ecn\n0,1,\n",
            r#":2: column ecn: "", expected"#,
        ),
        (
            "action,reward,time_ns\n0,1,-5\n",
            r#":2: column time_ns: "-5", expected a whole number from 0"#,
        ),
        ("0,1500,1\n", "3 numbers a line without a header"),
        ("action reward\n0 1\n", "cells separated by spaces"),
        (
            "action,reward\n0,\x1b[2J\n",
            r#"column reward: "\u{1b}[2J", expected"#,
        ),
        (long.as_str(), "(5000 characters)"),
    ] {
        match tables.read(text.as_bytes(), None) {
            Ok(_) => panic!("was read: {text}"),
            Err(error) => {
                assert!(error.contains(says), "{text}: {error}");
                assert!(
                    error.len() < 600 && !error.contains(char::is_control),
                    "{error}"
                );
            }
        }
    }
    let fifo = tables.path.with_file_name("fifo");
    let made = std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap();
    assert!(made.success());
    let options = TableOptions {
        scenario: "table",
        reward: Reward::default(),
        actions: None,
    };
    // Neither waits for a writer.
    let error = CsvReader::open(&fifo, options).err().unwrap().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    let error = open(&fifo).err().unwrap().to_string();
    assert!(error.contains("not a regular file"), "{error}");
}
