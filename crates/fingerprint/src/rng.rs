//! The random numbers of NumPy's `RandomState`, which decide fingerprints, class locations and splits.

const N: usize = 624;

/// MT19937 as `numpy.random.RandomState(seed)` uses it.
#[derive(Debug, Clone)]
pub struct Mt19937 {
    state: [u32; N],
    next: usize,
}

impl Mt19937 {
    /// A generator seeded with one integer.
    pub fn new(seed: u32) -> Self {
        let mut state = [0u32; N];
        state[0] = seed;
        for i in 1..N {
            let before = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: N }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == N {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn refill(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + 397) % N] ^ (y >> 1) ^ twist;
        }
        self.next = 0;
    }

    /// A uniform integer from 0 to `most`, inclusive; nothing is drawn for 0.
    pub fn bounded(&mut self, most: u32) -> u32 {
        if most == 0 {
            return 0;
        }
        let mask = u32::MAX >> most.leading_zeros();
        loop {
            let value = self.next_u32() & mask;
            if value <= most {
                return value;
            }
        }
    }

    /// All of `0..n` in random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.bounded(i as u32) as usize);
        }
        order
    }

    /// `k` different numbers of `0..n`; all `n` if `k` is larger.
    pub fn choice(&mut self, n: usize, k: usize) -> Vec<usize> {
        let mut order = self.permutation(n);
        order.truncate(k);
        order
    }

    /// `k` numbers of `0..n`, with replacement; none if `n` is 0.
    pub fn choice_with_replacement(&mut self, n: usize, k: usize) -> Vec<usize> {
        if n == 0 {
            return Vec::new();
        }
        (0..k).map(|_| self.bounded(n as u32 - 1) as usize).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Values of numpy.random.RandomState(1234).
    #[test]
    fn draws_with_replacement_are_numpys() {
        assert_eq!(Mt19937::new(1234).choice_with_replacement(5, 6), [3, 4, 4, 0, 1, 1]);
        assert_eq!(Mt19937::new(1234).choice_with_replacement(100, 6), [47, 83, 38, 53, 76, 24]);
        assert_eq!(
            Mt19937::new(1234).choice_with_replacement(1_000_003, 6),
            [486_191, 451_283, 165_158, 908_341, 978_124, 220_532]
        );
    }

    #[test]
    fn draws_without_replacement_are_numpys() {
        assert_eq!(Mt19937::new(1234).choice(10, 4), [7, 2, 9, 1]);
        assert_eq!(Mt19937::new(1234).choice(1000, 7), [681, 990, 155, 768, 438, 363, 688]);
        let mut rng = Mt19937::new(1234);
        assert_eq!(rng.choice(10, 3), [7, 2, 9]);
        assert_eq!(rng.choice(6, 6), [5, 0, 3, 4, 2, 1]);
    }
}
