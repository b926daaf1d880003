#include <charconv>
#include <string>
#include <unordered_map>

#include "ir/text.h"
#include "ir/verify.h"

namespace cria::ir {
namespace {

bool is_word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.' || c == '+' || c == '-';
}

// Recursive descent over text that nobody vouches for; no recursion in fact, so no depth to limit.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Graph> parse() {
    CRIA_RETURN_IF_ERROR(expect_word("graph"));
    CRIA_ASSIGN_OR_RETURN(graph_.name, word("the graph's name"));
    CRIA_RETURN_IF_ERROR(expect('{'));
    while (!accept('}')) CRIA_RETURN_IF_ERROR(parse_statement());
    skip_space();
    if (at_ != text_.size()) return mistake("text after the graph's end");
    CRIA_RETURN_IF_ERROR(verify(graph_));
    return std::move(graph_);
  }

 private:
  template <typename... Args>
  Status mistake(fmt::format_string<Args...> format, Args&&... args) const {
    std::size_t line = 1, column = 1;
    for (std::size_t i = 0; i < at_ && i < text_.size(); ++i) {
      column = text_[i] == '\n' ? 1 : column + 1;
      line += text_[i] == '\n' ? 1 : 0;
    }
    return bad_input("graph text, line {}, column {}: {}", line, column,
                     fmt::format(format, std::forward<Args>(args)...));
  }

  void skip_space() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
        ++at_;
      } else {
        return;
      }
    }
  }

  bool accept(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  Status expect(char c) {
    if (accept(c)) return Status();
    if (at_ >= text_.size()) return mistake("found the end, expected '{}'", c);
    const char found = text_[at_];
    return mistake("found '{}', expected '{}'", found >= 32 && found < 127 ? found : '?', c);
  }

  Result<std::string> word(std::string_view what) {
    skip_space();
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_word_char(text_[at_])) ++at_;
    if (at_ == begin) return mistake("expected {}", what);
    return std::string(text_.substr(begin, at_ - begin));
  }

  Status expect_word(std::string_view expected) {
    CRIA_ASSIGN_OR_RETURN(const std::string found, word(expected));
    if (found != expected) return mistake("found '{}', expected '{}'", found, expected);
    return Status();
  }

  template <typename T>
  Result<T> number(std::string_view what) {
    CRIA_ASSIGN_OR_RETURN(const std::string digits, word(what));
    T value{};
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value);
    if (error != std::errc() || stop != end) {
      return mistake("'{}' is not a number for {}", digits, what);
    }
    return value;
  }

  // "f32[S, 64]"
  Result<Type> type() {
    Type type;
    CRIA_ASSIGN_OR_RETURN(const std::string name, word("a type"));
    if (name != "f32" && name != "i64") return mistake("'{}' is not a type (f32, i64)", name);
    type.dtype = name == "f32" ? DType::kF32 : DType::kI64;
    CRIA_RETURN_IF_ERROR(expect('['));
    do {
      CRIA_ASSIGN_OR_RETURN(const std::string dimension, word("a dimension"));
      if (dimension == "S") {
        type.shape.push_back(kTokens);
      } else {
        at_ -= dimension.size();
        CRIA_ASSIGN_OR_RETURN(const std::int64_t size, number<std::int64_t>("a dimension"));
        if (size <= 0) return mistake("dimension {}, expected a positive one or S", size);
        type.shape.push_back(size);
      }
    } while (accept(','));
    CRIA_RETURN_IF_ERROR(expect(']'));
    return type;
  }

  Result<ValueId> new_value() {
    CRIA_ASSIGN_OR_RETURN(std::string name, word("a value's name"));
    CRIA_RETURN_IF_ERROR(expect(':'));
    CRIA_ASSIGN_OR_RETURN(Type value_type, type());
    const auto id = static_cast<ValueId>(graph_.values.size());
    if (!value_ids_.emplace(name, id).second) return mistake("%{} is made twice", name);
    graph_.values.push_back({std::move(name), std::move(value_type)});
    return id;
  }

  Status parse_statement() {
    if (accept('%')) {
      CRIA_ASSIGN_OR_RETURN(const ValueId output, new_value());
      CRIA_RETURN_IF_ERROR(expect('='));
      CRIA_ASSIGN_OR_RETURN(const std::string kind, word("an op"));
      return parse_op(kind, output);
    }
    CRIA_ASSIGN_OR_RETURN(const std::string keyword, word("a statement or '}'"));
    if (keyword == "weight") return parse_weight();
    if (keyword == "input") {
      CRIA_RETURN_IF_ERROR(expect('%'));
      CRIA_ASSIGN_OR_RETURN(const ValueId id, new_value());
      graph_.inputs.push_back(id);
      return Status();
    }
    return parse_op(keyword, std::nullopt);
  }

  Status parse_weight() {
    CRIA_ASSIGN_OR_RETURN(std::string name, word("a weight's name"));
    CRIA_RETURN_IF_ERROR(expect(':'));
    CRIA_ASSIGN_OR_RETURN(const std::int64_t n_rows, number<std::int64_t>("rows"));
    CRIA_RETURN_IF_ERROR(expect_word("x"));
    CRIA_ASSIGN_OR_RETURN(const std::int64_t n_cols, number<std::int64_t>("columns"));
    const auto id = static_cast<WeightId>(graph_.weights.size());
    if (!weight_ids_.emplace(name, id).second) return mistake("weight {} is named twice", name);
    graph_.weights.push_back({std::move(name), n_rows, n_cols});
    return Status();
  }

  Status parse_op(const std::string& kind, std::optional<ValueId> output) {
    const std::optional<OpKind> known = op_kind_from_name(kind);
    if (!known) return mistake("'{}' is not an op", kind);
    Op op{*known, {}, {}, output, {}};
    CRIA_RETURN_IF_ERROR(expect('('));
    do {
      CRIA_RETURN_IF_ERROR(expect('%'));
      CRIA_ASSIGN_OR_RETURN(const std::string name, word("a value's name"));
      const auto found = value_ids_.find(name);
      if (found == value_ids_.end()) return mistake("%{} is not made before", name);
      op.inputs.push_back(found->second);
    } while (accept(','));
    if (accept(';')) {
      do {
        CRIA_ASSIGN_OR_RETURN(const std::string name, word("a weight's name"));
        const auto found = weight_ids_.find(name);
        if (found == weight_ids_.end()) return mistake("weight {} is not declared", name);
        op.weights.push_back(found->second);
      } while (accept(','));
    }
    CRIA_RETURN_IF_ERROR(expect(')'));
    if (accept('{')) CRIA_RETURN_IF_ERROR(parse_attributes(op));
    graph_.ops.push_back(std::move(op));
    return Status();
  }

  Status parse_attributes(Op& op) {
    const std::uint32_t has = op_spec(op.kind).attributes;
    std::uint32_t seen = 0;
    do {
      CRIA_ASSIGN_OR_RETURN(const std::string name, word("an attribute"));
      CRIA_RETURN_IF_ERROR(expect('='));
      CRIA_ASSIGN_OR_RETURN(const AttributeBit bit, parse_attribute(op.attributes, name));
      if ((has & bit) == 0) return mistake("{} has no attribute {}", op_spec(op.kind).name, name);
      if ((seen & bit) != 0) return mistake("attribute {} is given twice", name);
      seen |= bit;
    } while (accept(','));
    return expect('}');
  }

  Result<AttributeBit> parse_attribute(Attributes& a, const std::string& name) {
    if (name == "epsilon" || name == "scale") {
      CRIA_ASSIGN_OR_RETURN(const float value, number<float>(name));
      (name == "epsilon" ? a.epsilon : a.scale) = value;
      return name == "epsilon" ? kHasEpsilon : kHasScale;
    }
    struct Member {
      const char* name;
      AttributeBit bit;
      std::int64_t Attributes::*member;
    };
    static constexpr Member kMembers[] = {
        {"layer", kHasLayer, &Attributes::layer},
        {"n_heads", kHasHeads, &Attributes::n_heads},
        {"n_kv_heads", kHasKvHeads, &Attributes::n_kv_heads},
        {"head_dim", kHasHeadDim, &Attributes::head_dim},
        {"column", kHasColumn, &Attributes::column},
        {"width", kHasWidth, &Attributes::width},
        {"block", kHasBlock, &Attributes::block},
        {"inverse", kHasInverse, &Attributes::inverse},
    };
    for (const Member& member : kMembers) {
      if (name != member.name) continue;
      CRIA_ASSIGN_OR_RETURN(a.*member.member, number<std::int64_t>(name));
      return member.bit;
    }
    return mistake("'{}' is not an attribute", name);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  Graph graph_;
  std::unordered_map<std::string, ValueId> value_ids_;
  std::unordered_map<std::string, WeightId> weight_ids_;
};

}  // namespace

Result<Graph> parse_graph(std::string_view text) { return Parser(text).parse(); }

}  // namespace cria::ir
