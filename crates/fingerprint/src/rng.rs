//! The random numbers of NumPy's `RandomState`, which decide fingerprints, class locations and splits.

const N: usize = 624;

/// MT19937 as `numpy.random.RandomState(seed)` uses it.
#[derive(Debug, Clone)]
pub struct Mt19937 {
    state: [u32; N],
    /// The numbers that the state stands for.
    numbers: [u32; N],
    next: usize,
}

/// Distance of the words that are mixed.
const M: usize = 397;

impl Mt19937 {
    /// A generator seeded with one integer.
    pub fn new(seed: u32) -> Self {
        let mut state = [0u32; N];
        state[0] = seed;
        for i in 1..N {
            let before = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { state, numbers: [0; N], next: N }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == N {
            self.refill();
        }
        self.next += 1;
        self.numbers[self.next - 1]
    }

    fn refill(&mut self) {
        let mix = |a: u32, b: u32| {
            let y = (a & 0x8000_0000) | (b & 0x7fff_ffff);
            (y >> 1) ^ (0x9908_b0df * (y & 1))
        };
        let state = &mut self.state;
        for i in 0..N - M {
            state[i] = state[i + M] ^ mix(state[i], state[i + 1]);
        }
        for i in N - M..N - 1 {
            state[i] = state[i + M - N] ^ mix(state[i], state[i + 1]);
        }
        state[N - 1] = state[M - 1] ^ mix(state[N - 1], state[0]);
        for (number, &word) in self.numbers.iter_mut().zip(&self.state) {
            let mut y = word;
            y ^= y >> 11;
            y ^= (y << 7) & 0x9d2c_5680;
            y ^= (y << 15) & 0xefc6_0000;
            *number = y ^ (y >> 18);
        }
        self.next = 0;
    }

    /// As many uniform integers from 0 to `most`, inclusive, as `out` has room for; the same as from [`Self::bounded`].
    pub fn fill_bounded(&mut self, most: u32, out: &mut [u32]) {
        if most == 0 {
            return out.fill(0);
        }
        let mask = u32::MAX >> most.leading_zeros();
        let mut done = 0;
        while done < out.len() {
            if self.next == N {
                self.refill();
            }
            let numbers = &self.numbers[self.next..];
            if out.len() - done < numbers.len() {
                out[done] = self.bounded(most);
                done += 1;
                continue;
            }
            // There is room for all of them, so that a refused one is written over by the next without a branch.
            for number in numbers {
                let value = number & mask;
                out[done] = value;
                done += usize::from(value <= most);
            }
            self.next = N;
        }
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
    fn many_draws_are_those_of_one_after_the_other() {
        for most in [0, 1, 5, 623, 1_000_003, u32::MAX] {
            let (mut one, mut many) = (Mt19937::new(7), Mt19937::new(7));
            for count in [1, 3, 1000, 0, 2500] {
                let mut found = vec![0; count];
                many.fill_bounded(most, &mut found);
                let expected: Vec<u32> = (0..count).map(|_| one.bounded(most)).collect();
                assert_eq!(found, expected, "{count} up to {most}");
            }
        }
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
