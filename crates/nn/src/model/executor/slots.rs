//! Which buffer an activation lies in.

/// From which step to which an activation is needed, and its values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Life {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) len: usize,
}

/// The slot of each activation, and the length of each slot: activations whose lives overlap never share one.
///
/// Takes the smallest free slot that is long enough, else lengthens the longest free one.
pub(super) fn assign(lives: &[Life]) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&i| lives[i].first);
    let (mut slot_of, mut lens) = (vec![0; lives.len()], Vec::<usize>::new());
    let mut taken_until: Vec<usize> = Vec::new();
    for i in order {
        let life = lives[i];
        let free = (0..lens.len()).filter(|&slot| taken_until[slot] < life.first);
        let fits = free.clone().filter(|&slot| lens[slot] >= life.len).min_by_key(|&slot| lens[slot]);
        let slot = fits.or_else(|| free.max_by_key(|&slot| lens[slot])).unwrap_or_else(|| {
            lens.push(0);
            taken_until.push(0);
            lens.len() - 1
        });
        lens[slot] = lens[slot].max(life.len);
        taken_until[slot] = life.last;
        slot_of[i] = slot;
    }
    (slot_of, lens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_and_never_shared() {
        let life = |first, last, len| Life { first, last, len };
        let lives = [life(0, 1, 10), life(1, 5, 40), life(2, 3, 8), life(3, 4, 9), life(4, 6, 12)];
        let (slots, lens) = assign(&lives);
        assert_eq!((slots, lens), (vec![0, 1, 0, 2, 0], vec![12, 40, 9]));
        for (i, a) in lives.iter().enumerate() {
            for (j, b) in lives.iter().enumerate().skip(i + 1) {
                let (slots, _) = assign(&lives);
                assert!(slots[i] != slots[j] || a.last < b.first || b.last < a.first);
            }
        }
    }
}
