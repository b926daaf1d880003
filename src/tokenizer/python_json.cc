#include "tokenizer/python_json.h"

#include <cmath>

#include "base/json/json.h"

namespace cria {

namespace {

using nlohmann::ordered_json;

class Writer {
 public:
  explicit Writer(int indent) : indent_(indent) {}

  // False: nested too deep.
  bool write(const ordered_json& value) {
    switch (value.type()) {
      case ordered_json::value_t::object:
        return write_object(value);
      case ordered_json::value_t::array:
        return write_array(value);
      case ordered_json::value_t::string:
        write_string(value.get_ref<const std::string&>());
        return true;
      case ordered_json::value_t::boolean:
        out_ += value.get<bool>() ? "true" : "false";
        return true;
      case ordered_json::value_t::number_integer:
        out_ += fmt::format("{}", value.get<std::int64_t>());
        return true;
      case ordered_json::value_t::number_unsigned:
        out_ += fmt::format("{}", value.get<std::uint64_t>());
        return true;
      case ordered_json::value_t::number_float:
        write_float(value.get<double>());
        return true;
      default:
        out_ += "null";
        return true;
    }
  }

  std::string take() && { return std::move(out_); }

 private:
  // Python's repr: the shortest digits that read back the same, and always a mark of a float.
  void write_float(double number) {
    if (!std::isfinite(number)) {
      out_ += std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
      return;
    }
    const std::string digits = fmt::format("{}", number);
    out_ += digits;
    if (digits.find_first_of(".e") == std::string::npos) out_ += ".0";
  }

  void write_string(const std::string& text) {
    out_ += '"';
    for (const char c : text) write_character(c);
    out_ += '"';
  }

  void write_character(char c) {
    switch (c) {
      case '"':
        out_ += "\\\"";
        return;
      case '\\':
        out_ += "\\\\";
        return;
      case '\n':
        out_ += "\\n";
        return;
      case '\r':
        out_ += "\\r";
        return;
      case '\t':
        out_ += "\\t";
        return;
      case '\f':
        out_ += "\\f";
        return;
      case '\b':
        out_ += "\\b";
        return;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out_ += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out_ += c;
        }
    }
  }

  bool write_array(const ordered_json& array) {
    if (!open('[')) return false;
    bool first = true;
    for (const ordered_json& element : array) {
      separate(first);
      if (!write(element)) return false;
    }
    close(']', array.empty());
    return true;
  }

  bool write_object(const ordered_json& object) {
    if (!open('{')) return false;
    bool first = true;
    for (const auto& [key, value] : object.items()) {
      separate(first);
      write_string(key);
      out_ += ": ";
      if (!write(value)) return false;
    }
    close('}', object.empty());
    return true;
  }

  bool open(char bracket) {
    out_ += bracket;
    return ++depth_ <= kMaxJsonNesting;
  }

  void separate(bool& first) {
    if (!first) out_ += indent_ < 0 ? ", " : ",";
    first = false;
    new_line();
  }

  void close(char bracket, bool empty) {
    --depth_;
    if (!empty) new_line();
    out_ += bracket;
  }

  void new_line() {
    if (indent_ < 0) return;
    out_ += '\n';
    out_.append(depth_ * static_cast<std::size_t>(indent_), ' ');
  }

  int indent_;
  std::size_t depth_ = 0;
  std::string out_;
};

}  // namespace

Result<std::string> python_json(const ordered_json& value, int indent) {
  Writer writer(indent);
  if (!writer.write(value)) {
    return invalid_argument("JSON nested more than {} deep", kMaxJsonNesting);
  }
  return std::move(writer).take();
}

}  // namespace cria
