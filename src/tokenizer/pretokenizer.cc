#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/pretokenizer.h"

#include <pcre2.h>

#include <array>

#include "tokenizer/utf8.h"

namespace cria {

const char* const kLlama3Pattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

namespace {

enum class ByteClass : std::uint8_t { kLetter, kDigit, kNewline, kSpace, kOther, kHigh };

constexpr std::array<ByteClass, 256> make_byte_classes() {
  std::array<ByteClass, 256> classes{};
  for (int c = 0; c < 256; ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    ByteClass byte_class = ByteClass::kOther;
    if (c >= 0x80) byte_class = ByteClass::kHigh;
    if (letter) byte_class = ByteClass::kLetter;
    if (c >= '0' && c <= '9') byte_class = ByteClass::kDigit;
    if (c == '\n' || c == '\r') byte_class = ByteClass::kNewline;
    if (c == ' ' || c == '\t' || c == '\v' || c == '\f') byte_class = ByteClass::kSpace;
    classes[static_cast<std::size_t>(c)] = byte_class;
  }
  return classes;
}
constexpr std::array<ByteClass, 256> kByteClasses = make_byte_classes();

// Cuts one piece off ASCII text. 0 means: a byte past ASCII has a say in where the piece ends, ask
// PCRE2.
class AsciiScanner {
 public:
  explicit AsciiScanner(std::string_view run) : run_(run) {}

  std::size_t piece() const {
    if (class_at(0) == ByteClass::kHigh) return 0;
    if (run_[0] == '\'') {
      if (class_at(1) == ByteClass::kHigh) return 0;  // U+017F is an s when case is ignored
      if (const std::size_t size = contraction()) return size;
    }
    switch (class_at(0)) {
      case ByteClass::kLetter:
        return letters(1);
      case ByteClass::kDigit:
        return digits();
      case ByteClass::kNewline:
        return spaces();
      default:
        return prefixed();
    }
  }

 private:
  bool ended(std::size_t at) const { return at >= run_.size(); }
  // REQUIRES: not ended(at).
  ByteClass raw_class(std::size_t at) const {
    return kByteClasses[static_cast<std::uint8_t>(run_[at])];
  }
  // The end of the text counts as a newline here: it is neither letter, digit, high nor other.
  ByteClass class_at(std::size_t at) const {
    return ended(at) ? ByteClass::kNewline : raw_class(at);
  }
  char lower_at(std::size_t at) const {
    return ended(at) ? '\0' : static_cast<char>(run_[at] | 0x20);
  }

  std::size_t contraction() const {
    const char a = lower_at(1), b = lower_at(2);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    const bool two = (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l');
    return two ? 3 : 0;
  }

  std::size_t letters(std::size_t at) const {
    while (class_at(at) == ByteClass::kLetter) ++at;
    return class_at(at) == ByteClass::kHigh ? 0 : at;
  }

  std::size_t digits() const {
    std::size_t at = 1;
    while (at < 3 && class_at(at) == ByteClass::kDigit) ++at;
    return at < 3 && class_at(at) == ByteClass::kHigh ? 0 : at;
  }

  // Starts with a space or another character: [^\r\n\p{L}\p{N}]?\p{L}+, ` ?[^\s\p{L}\p{N}]+[\r\n]*`
  // or one of those for white space.
  std::size_t prefixed() const {
    const ByteClass second = class_at(1);
    if (second == ByteClass::kHigh) return 0;
    if (second == ByteClass::kLetter) return letters(2);
    const bool other = raw_class(0) == ByteClass::kOther;
    if (!other && !(run_[0] == ' ' && second == ByteClass::kOther)) return spaces();
    std::size_t at = 1;
    while (class_at(at) == ByteClass::kOther) ++at;
    if (class_at(at) == ByteClass::kHigh) return 0;
    while (!ended(at) && raw_class(at) == ByteClass::kNewline) ++at;
    return at;
  }

  // \s*[\r\n]+ up to the last newline, else \s+(?!\S), else \s+.
  std::size_t spaces() const {
    std::size_t at = 0, after_newline = 0;
    for (; !ended(at); ++at) {
      const ByteClass c = raw_class(at);
      if (c == ByteClass::kNewline) after_newline = at + 1;
      if (c != ByteClass::kNewline && c != ByteClass::kSpace) break;
    }
    if (class_at(at) == ByteClass::kHigh) return 0;
    if (after_newline > 0) return after_newline;
    return ended(at) || at == 1 ? at : at - 1;
  }

  std::string_view run_;
};

// The expression, compiled once for the whole process.
struct Expression {
  pcre2_code* code = nullptr;
  std::string error;

  Expression() {
    int number = 0;
    PCRE2_SIZE offset = 0;
    code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(kLlama3Pattern), PCRE2_ZERO_TERMINATED,
                         PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &number, &offset, nullptr);
    if (code == nullptr) {
      std::array<PCRE2_UCHAR, 256> text{};
      pcre2_get_error_message(number, text.data(), text.size());
      error = fmt::format("PCRE2 does not take Llama 3's expression, byte {}: {}", offset,
                          reinterpret_cast<const char*>(text.data()));
      return;
    }
    // Without a just-in-time compiler (it returns an error) pcre2_match() interprets.
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  }
  ~Expression() { pcre2_code_free(code); }
  Expression(const Expression&) = delete;
  Expression& operator=(const Expression&) = delete;
};

const Expression& expression() {
  static const Expression instance;
  return instance;
}

}  // namespace

struct PreTokenSplitter::MatchState {
  explicit MatchState(std::uint32_t match_limit)
      : data(pcre2_match_data_create(1, nullptr)), context(pcre2_match_context_create(nullptr)) {
    if (context != nullptr && match_limit > 0) pcre2_set_match_limit(context, match_limit);
  }
  ~MatchState() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;

  pcre2_match_data* data;
  pcre2_match_context* context;
};

void PreTokenSplitter::MatchStateDeleter::operator()(MatchState* state) const { delete state; }

Result<PreTokenSplitter> PreTokenSplitter::create(std::string_view text,
                                                  const SplitOptions& options) {
  if (expression().code == nullptr) return internal_error("{}", expression().error);
  return PreTokenSplitter(text, options);
}

std::string_view PreTokenSplitter::next() {
  if (at_ == text_.size()) return {};
  if (at_ == run_end_) {
    run_end_ = at_ + utf8_valid_prefix(text_.substr(at_));
    if (run_end_ == at_) {
      do {
        ++run_end_;
      } while (run_end_ < text_.size() && utf8_character_length(text_.substr(run_end_)) <= 0);
      return take(run_end_ - at_);
    }
  }
  const std::string_view run = text_.substr(at_, run_end_ - at_);
  std::size_t size_bytes = options_.ascii_fast_path ? AsciiScanner(run).piece() : 0;
  if (size_bytes == 0) size_bytes = match_expression(run);
  return take(size_bytes);
}

std::string_view PreTokenSplitter::take(std::size_t size_bytes) {
  const std::string_view piece = text_.substr(at_, size_bytes);
  at_ += size_bytes;
  return piece;
}

std::size_t PreTokenSplitter::match_expression(std::string_view run) {
  if (state_ == nullptr) state_.reset(new MatchState(options_.match_limit));
  if (state_->data == nullptr || state_->context == nullptr) return run.size();
  const auto subject = reinterpret_cast<PCRE2_SPTR>(run.data());
  // The expression looks ahead but never behind, so the run can be handed over from here on.
  int rc = pcre2_match(expression().code, subject, run.size(), 0, PCRE2_NO_UTF_CHECK, state_->data,
                       state_->context);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
    rc = pcre2_match(expression().code, subject, run.size(), 0, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                     state_->data, state_->context);
  }
  const std::size_t end = rc > 0 ? pcre2_get_ovector_pointer(state_->data)[1] : 0;
  return end > 0 && end <= run.size() ? end : run.size();  // never lose text, always advance
}

}  // namespace cria
