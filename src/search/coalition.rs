//! Which players are present.

use std::fmt;

const BITS: usize = u64::BITS as usize;

/// A set of present players out of `0..players`.
///
/// ```
/// use interpix::search::Coalition;
///
/// let mut pair = Coalition::of(5, [3, 1]);
/// assert_eq!(pair.members().collect::<Vec<_>>(), [1, 3]);
/// pair.flip(4);
/// pair.flip(1);
/// assert_eq!(pair.to_string(), "[3, 4]");
/// assert_eq!(pair.complement().to_string(), "[0, 1, 2]");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Coalition {
    players: usize,
    words: Vec<u64>,
}

impl Coalition {
    /// Nobody is present.
    pub fn empty(players: usize) -> Self {
        Self { players, words: vec![0; players.div_ceil(BITS)] }
    }

    /// Everybody is present.
    pub fn full(players: usize) -> Self {
        Self::of(players, 0..players)
    }

    /// Exactly `members` are present; each must be below `players`.
    pub fn of(players: usize, members: impl IntoIterator<Item = usize>) -> Self {
        let mut coalition = Self::empty(players);
        for member in members {
            coalition.insert(member);
        }
        coalition
    }

    /// The coalition whose member `i` is bit `i` of `code`, for at most 64 players.
    ///
    /// ```
    /// # use interpix::search::Coalition;
    /// assert_eq!(Coalition::from_code(4, 0b1010), Coalition::of(4, [1, 3]));
    /// ```
    pub fn from_code(players: usize, code: u64) -> Self {
        Self::of(players, (0..players.min(BITS)).filter(|player| code >> player & 1 == 1))
    }

    /// Number of players, present or absent.
    pub fn players(&self) -> usize {
        self.players
    }

    /// Number of present players.
    pub fn size(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether `player` is present.
    pub fn contains(&self, player: usize) -> bool {
        self.words[player / BITS] >> (player % BITS) & 1 == 1
    }

    /// The present players, ascending.
    pub fn members(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.players).filter(|&player| self.contains(player))
    }

    /// Makes `player` present.
    pub fn insert(&mut self, player: usize) {
        assert!(player < self.players, "player {player} of {}", self.players);
        self.words[player / BITS] |= 1 << (player % BITS);
    }

    /// Makes `player` absent.
    pub fn remove(&mut self, player: usize) {
        assert!(player < self.players, "player {player} of {}", self.players);
        self.words[player / BITS] &= !(1 << (player % BITS));
    }

    /// Makes a present player absent and an absent one present.
    pub fn flip(&mut self, player: usize) {
        assert!(player < self.players, "player {player} of {}", self.players);
        self.words[player / BITS] ^= 1 << (player % BITS);
    }

    /// This coalition and `player`.
    #[must_use]
    pub fn with(&self, player: usize) -> Self {
        let mut changed = self.clone();
        changed.insert(player);
        changed
    }

    /// This coalition less `player`.
    #[must_use]
    pub fn without(&self, player: usize) -> Self {
        let mut changed = self.clone();
        changed.remove(player);
        changed
    }

    /// The members of either coalition; both must have the same players.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    /// The members of this coalition that are not in `other`; both must have the same players.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    /// The absent players.
    #[must_use]
    pub fn complement(&self) -> Self {
        Self::full(self.players).difference(self)
    }

    fn zip(&self, other: &Self, operation: impl Fn(u64, u64) -> u64) -> Self {
        assert_eq!(self.players, other.players, "coalitions of the same players");
        let words = self.words.iter().zip(&other.words).map(|(&a, &b)| operation(a, b)).collect();
        Self { players: self.players, words }
    }
}

/// The present players, the first ten of many.
impl fmt::Display for Coalition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        let size = self.size();
        let members: Vec<usize> = self.members().take(SHOWN).collect();
        if size <= SHOWN {
            return write!(formatter, "{members:?}");
        }
        let members: Vec<String> = members.iter().map(ToString::to_string).collect();
        write!(formatter, "[{}, … {size} of {} players]", members.join(", "), self.players)
    }
}
