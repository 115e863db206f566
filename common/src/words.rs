//! Eight words that two people read to each other to know that they hold the same two cards.

use bip39::Language;
use sha2::{Digest as _, Sha256};

/// Eight words of eleven bits each, from the SHA-256 of both cards as files.
///
/// Both cards enter with their length, so no byte can move from one to the other. Eighty-eight
/// bits cannot be met by a forger within any number of tries that he has.
pub fn eight_words(publisher_card: &[u8], site_card: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"gapferry-words-v1");
    for card in [publisher_card, site_card] {
        hasher.update((card.len() as u64).to_le_bytes());
        hasher.update(card);
    }
    let hash = hasher.finalize();
    let bit = |at: usize| usize::from(hash[at / 8] >> (7 - at % 8) & 1);
    let word = |number: usize| {
        let index = (0..11).fold(0, |index, i| index << 1 | bit(number * 11 + i));
        Language::English.word_list()[index]
    };
    (0..8).map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_eight_and_change_with_either_card() {
        let words = eight_words(b"publisher", b"site");
        assert_eq!(words.split(' ').count(), 8);
        assert_eq!(words, eight_words(b"publisher", b"site"));
        assert_ne!(words, eight_words(b"publishers", b"ite"));
        assert_ne!(words, eight_words(b"publisher", b"sitE"));
    }
}
