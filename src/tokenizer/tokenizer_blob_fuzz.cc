#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tokenizer/fuzz_check.h"
#include "tokenizer/tokenizer_testing.h"

namespace {

std::vector<std::byte> block_of(const cria::Vocabulary& vocabulary) {
  return cria::Tokenizer::build(vocabulary)->serialize();
}

// One in which ids say the order of merges, one with ranks, one with scores.
std::vector<std::vector<std::byte>> good_blocks() {
  cria::Vocabulary shuffled = cria::tiny_vocabulary();
  std::reverse(shuffled.merges.begin(), shuffled.merges.end());
  return {block_of(cria::tiny_vocabulary()), block_of(shuffled),
          block_of(cria::tiny_sentencepiece())};
}

}  // namespace

// Four bytes each (offset in 24 bits, value) change a good block, which the first byte chooses;
// then it is used.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::vector<std::byte>> good = good_blocks();
  std::vector<std::byte> bytes = good[size == 0 ? 0 : data[0] % good.size()];
  if (size > 0) ++data, --size;
  for (std::size_t i = 0; i + 4 <= size; i += 4) {
    const std::size_t at = data[i] | data[i + 1] << 8 | data[i + 2] << 16;
    bytes[at % bytes.size()] = static_cast<std::byte>(data[i + 3]);
  }
  if (size % 4 != 0) bytes.erase(bytes.end() - data[size - 1], bytes.end());
  const auto tokenizer = cria::Tokenizer::load(bytes, "fuzz");
  if (!tokenizer.ok()) return 0;
  const auto ids = tokenizer->encode("the hello and 123 aaaa <|eot_id|>\n\xc3\xa9\xff");
  if (!ids.ok()) std::abort();
  for (const std::int32_t id : *ids) {
    if (id < 0 || id >= tokenizer->n_vocab()) std::abort();
  }
  tokenizer->decode(*ids, true);
  tokenizer->token_id("<|eot_id|>");
  return 0;
}
