//! Reads pools from JSON.

use std::path::Path;

use super::text::Cursor;
use super::{ACTIONS, BASE_ACTIONS, DONES, EPISODES, FORMAT, REASONS, REWARDS, STATES, TIMES};
use crate::Feature;
use crate::pool::domain::Domain;
use crate::pool::{PoolError, Rows, Schema, Source};
use crate::text::shown;

/// Rows read at a time.
const CHUNK: usize = 1 << 14;

/// Iterates over the rows of a JSON pool with little memory.
pub struct JsonReader {
    schema: Schema,
    order: Vec<usize>, // feature index of each number of a state
    states: Cursor,
    actions: Cursor,
    rewards: Cursor,
    dones: Cursor,
    episodes: Option<Cursor>,
    times: Option<Cursor>,
    base_actions: Option<Cursor>,
    reasons: Option<Cursor>,
    scenarios: Option<Vec<String>>,
    name: String,
    episode: Option<u64>,
    ended: bool, // `done` of the last row
    row: Option<Next>,
    over: bool,
}

/// Episode of a row that is not read yet.
struct Next {
    episode: u64,
    first: bool,
}

impl JsonReader {
    /// Locates the lists of a pool; reads the whole file once.
    ///
    /// # Errors
    /// The file cannot be read, is malformed, lacks a list, or names a feature
    /// twice.
    pub fn open(path: &Path) -> Result<JsonReader, PoolError> {
        let contents = Contents::of(path)?;
        let list = |key: &'static str| -> Result<Option<Cursor>, PoolError> {
            let offset = contents.lists.iter().find(|(k, _)| *k == key);
            offset
                .map(|(_, at)| Cursor::open(path, key, *at))
                .transpose()
        };
        let need =
            |key: &'static str| list(key)?.ok_or_else(|| PoolError::text(path, key, "missing"));
        let (base_actions, reasons) = (list(BASE_ACTIONS)?, list(REASONS)?);
        if base_actions.is_some() != reasons.is_some() {
            let missing = if reasons.is_some() {
                BASE_ACTIONS
            } else {
                REASONS
            };
            return Err(PoolError::text(path, missing, "missing"));
        }
        let times = list(TIMES)?;
        let mut states = need(STATES)?;
        let features = match contents.features {
            Some(features) => features,
            None => published(&mut states)?,
        };
        let schema = Schema::new(features.iter().copied(), times.is_some(), reasons.is_some());
        if schema.features().len() < features.len() {
            return Err(PoolError::text(path, "features", "one is named twice"));
        }
        let order = features.iter().filter_map(|f| schema.place(*f)).collect();
        let name = path.file_stem().unwrap_or_default();
        Ok(JsonReader {
            states: need(STATES)?,
            actions: need(ACTIONS)?,
            rewards: need(REWARDS)?,
            dones: need(DONES)?,
            episodes: list(EPISODES)?,
            times,
            base_actions,
            reasons,
            scenarios: contents.scenarios,
            name: name.to_string_lossy().into_owned(),
            episode: None,
            ended: false,
            row: None,
            over: false,
            schema,
            order,
        })
    }

    /// Begins a row: returns its episode, or `None` at the end.
    fn begin(&mut self) -> Result<Option<Next>, PoolError> {
        if self.over {
            return Ok(None);
        }
        let more = self.states.element()?;
        self.over = !more;
        let optional = [
            self.episodes.as_mut(),
            self.times.as_mut(),
            self.base_actions.as_mut(),
            self.reasons.as_mut(),
        ];
        let fixed = [&mut self.actions, &mut self.rewards, &mut self.dones];
        for list in fixed.into_iter().chain(optional.into_iter().flatten()) {
            if list.element()? != more {
                let side = if more { "fewer" } else { "more" };
                return Err(list.wrong(format!("{side} elements than {STATES}")));
            }
        }
        if !more {
            return Ok(None);
        }
        let last = self.episode;
        let next = last.map_or(0, |last| last + 1);
        let episode = match &mut self.episodes {
            Some(list) => {
                let episode = list.whole(u32::MAX.into())?;
                if Some(episode) != last && episode != next {
                    let reason = format!("{episode}, expected {next}: episodes count from 0");
                    return Err(list.wrong(reason));
                }
                episode
            }
            None => last.filter(|_| !self.ended).unwrap_or(next),
        };
        self.episode = Some(episode);
        Ok(Some(Next {
            episode,
            first: last != Some(episode),
        }))
    }

    /// Reads the remaining values of a row.
    fn read(&mut self, rows: &mut Rows) -> Result<(), PoolError> {
        let most = crate::ACTIONS as u64 - 1;
        self.states.expect(b'[')?;
        for (i, place) in self.order.iter().enumerate() {
            if i > 0 && !self.states.take(b',')? {
                let reason = format!("{i} numbers, expected {}", self.order.len());
                return Err(self.states.wrong(reason));
            }
            let value = self.states.number()?;
            let feature = self.schema.features()[*place];
            let domain = Domain::of(feature);
            if !domain.has(value) {
                let reason = format!("{} is {value}, expected {domain}", feature.name());
                return Err(self.states.wrong(reason));
            }
            rows.features[*place].push(value);
        }
        if !self.states.take(b']')? {
            let found = self.states.peek()?;
            let want = format!("the end of {} numbers", self.order.len());
            return Err(self.states.found(found, &want));
        }
        rows.action.push(self.actions.whole(most)? as u8);
        rows.reward.push(self.rewards.number()?);
        self.ended = self.dones.flag()?;
        rows.done.push(self.ended);
        if let Some(list) = &mut self.times {
            rows.time_ns.push(list.whole(u64::MAX)?);
        }
        if let Some(list) = &mut self.base_actions {
            rows.base_action.push(list.whole(most)? as u8);
        }
        if let Some(list) = &mut self.reasons {
            rows.reason.push(list.whole(u8::MAX.into())? as u8);
        }
        Ok(())
    }

    fn scenario(&self, episode: u64) -> Result<&str, PoolError> {
        let Some(scenarios) = &self.scenarios else {
            return Ok(&self.name);
        };
        let scenario = usize::try_from(episode).ok().and_then(|i| scenarios.get(i));
        scenario.map(String::as_str).ok_or_else(|| {
            let reason = format!("episode {episode} has no element in scenarios");
            self.states.wrong(reason)
        })
    }
}

impl Source for JsonReader {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn next(&mut self) -> Result<Option<Rows>, PoolError> {
        let begun = match self.row.take() {
            Some(next) => Some(next),
            None => self.begin()?,
        };
        let Some(next) = begun else {
            return Ok(None);
        };
        let mut rows = Rows::new(&self.schema, self.scenario(next.episode)?, next.first);
        self.read(&mut rows)?;
        while rows.len() < CHUNK {
            match self.begin()? {
                // The next call begins with it.
                Some(next) if next.first => {
                    self.row = Some(next);
                    break;
                }
                Some(_) => self.read(&mut rows)?,
                None => break,
            }
        }
        Ok(Some(rows))
    }

    fn position(&self) -> u64 {
        self.states.offset()
    }
}

/// Positions of the lists, and the small lists themselves.
#[derive(Default)]
struct Contents {
    lists: Vec<(&'static str, u64)>,
    features: Option<Vec<Feature>>,
    scenarios: Option<Vec<String>>,
}

impl Contents {
    fn of(path: &Path) -> Result<Contents, PoolError> {
        const LISTS: [&str; 8] = [
            STATES,
            ACTIONS,
            REWARDS,
            DONES,
            EPISODES,
            TIMES,
            BASE_ACTIONS,
            REASONS,
        ];
        let mut contents = Contents::default();
        let mut file = Cursor::open(path, "pool", 0)?;
        file.expect(b'{')?;
        loop {
            let key = file.string()?;
            file.expect(b':')?;
            let start = file.peek()?;
            match key.as_str() {
                "format" => {
                    let format = file.string()?;
                    if format != FORMAT {
                        return Err(file.wrong(format!(
                            "format \"{}\", expected {FORMAT:?}",
                            shown(&format)
                        )));
                    }
                }
                "features" => contents.features = Some(features(path)(strings(&mut file)?)?),
                "scenarios" => contents.scenarios = Some(strings(&mut file)?),
                other => {
                    let Some(list) = LISTS.iter().find(|list| **list == other) else {
                        return Err(
                            file.wrong(format!("\"{}\" is not a key of pools", shown(other)))
                        );
                    };
                    if start != Some(b'[') {
                        return Err(file.found(start, &format!("the list {list}")));
                    }
                    contents.lists.push((list, file.offset()));
                    file.skip()?;
                }
            }
            if !file.take(b',')? {
                break;
            }
        }
        file.expect(b'}')?;
        match file.peek()? {
            None => Ok(contents),
            found => Err(file.found(found, "the end of the file")),
        }
    }
}

/// Limit on the bytes of names in one pool's list of scenarios.
const NAMES: usize = 1 << 26;

fn strings(file: &mut Cursor) -> Result<Vec<String>, PoolError> {
    let mut all = Vec::new();
    let mut left = NAMES;
    file.expect(b'[')?;
    if file.take(b']')? {
        return Ok(all);
    }
    loop {
        let text = file.string()?;
        // An empty name also takes memory.
        let size = text.len() + size_of::<String>();
        left = left
            .checked_sub(size)
            .ok_or_else(|| file.wrong("more than 64 MiB of names".to_owned()))?;
        all.push(text);
        if !file.take(b',')? {
            file.expect(b']')?;
            return Ok(all);
        }
    }
}

fn features(path: &Path) -> impl Fn(Vec<String>) -> Result<Vec<Feature>, PoolError> {
    move |names| {
        let named = |name: &String| {
            let unknown =
                || PoolError::text(path, "features", format!("unknown: \"{}\"", shown(name)));
            Feature::named(name).ok_or_else(unknown)
        };
        names.iter().map(named).collect()
    }
}

/// Features of a published pool, by the length of its first state.
fn published(states: &mut Cursor) -> Result<Vec<Feature>, PoolError> {
    let mut count = 0;
    if states.element()? {
        states.expect(b'[')?;
        loop {
            states.number()?;
            count += 1;
            if !states.take(b',')? {
                break;
            }
        }
    }
    match count {
        7 => Ok(Feature::PAPER7.to_vec()),
        8 => Ok(Feature::PAPER8.to_vec()),
        _ => {
            let reason = format!(
                "states of {count} numbers without \"features\" to name them, expected the \
                 published 7 or 8"
            );
            Err(states.wrong(reason))
        }
    }
}
