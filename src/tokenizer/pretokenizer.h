// Cuts text into the pieces inside which tokens merge: Llama 3's regular expression
//
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
//   |\s*[\r\n]+|\s+(?!\S)|\s+
//
// The pieces, one after the other, are the text again, byte for byte. Bytes that are not valid
// UTF-8 form pieces of their own; the text before and after them is cut as if it ended there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/result.h"

namespace cria {

// The expression as tokenizer.json spells it.
extern const char* const kLlama3Pattern;

struct SplitOptions {
  // Cut ASCII by hand, ten times faster than PCRE2 does; the pieces are the same.
  bool ascii_fast_path = true;
  // PCRE2's limit on the work for one match, 0: its default. Where it is hit, the rest of the text
  // becomes one piece.
  std::uint32_t match_limit = 0;
};

// Iterates over the pieces of one text, which must outlive it. Linear in the length of the text.
// Thread-safety: one thread at a time, any number of splitters at the same time.
class PreTokenSplitter {
 public:
  // kInternal if PCRE2 cannot compile the expression (a build of PCRE2 without Unicode).
  static Result<PreTokenSplitter> create(std::string_view text, const SplitOptions& options = {});

  // The next piece, empty at the end.
  std::string_view next();

 private:
  struct MatchState;
  struct MatchStateDeleter {
    void operator()(MatchState* state) const;
  };

  PreTokenSplitter(std::string_view text, const SplitOptions& options)
      : text_(text), options_(options) {}
  std::string_view take(std::size_t size_bytes);
  std::size_t match_expression(std::string_view run);

  std::string_view text_;
  SplitOptions options_;
  std::size_t at_ = 0;
  std::size_t run_end_ = 0;                               // text_[at_, run_end_) is valid UTF-8
  std::unique_ptr<MatchState, MatchStateDeleter> state_;  // made when PCRE2 is first needed
};

}  // namespace cria
