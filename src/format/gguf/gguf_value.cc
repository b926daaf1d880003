// Metadata values: typed access and printing.
#include <cstring>

#include "base/quote.h"
#include "format/gguf/gguf.h"

namespace cria {
namespace {

// Calls `function` with the element `index` of `value` as its C++ type; numbers and bools only.
template <typename Function>
void visit_element(const GgufValue& value, std::uint64_t index, Function&& function) {
  const auto load = [&]<typename T>(T element) {
    std::memcpy(&element, value.bytes.data() + index * sizeof(T), sizeof(T));
    function(element);
  };
  switch (value.element_type) {
    case GgufValueType::kU8:
      return load(std::uint8_t{});
    case GgufValueType::kI8:
      return load(std::int8_t{});
    case GgufValueType::kU16:
      return load(std::uint16_t{});
    case GgufValueType::kI16:
      return load(std::int16_t{});
    case GgufValueType::kU32:
      return load(std::uint32_t{});
    case GgufValueType::kI32:
      return load(std::int32_t{});
    case GgufValueType::kU64:
      return load(std::uint64_t{});
    case GgufValueType::kI64:
      return load(std::int64_t{});
    case GgufValueType::kF32:
      return load(float{});
    case GgufValueType::kF64:
      return load(double{});
    case GgufValueType::kBool:
      return function(value.bytes[index] != std::byte{0});
    case GgufValueType::kText:
    case GgufValueType::kArray:
      return;
  }
}

std::optional<std::int64_t> integer_at(const GgufValue& value, std::uint64_t index) {
  std::optional<std::int64_t> result;
  visit_element(value, index, [&](auto element) {
    if constexpr (std::is_integral_v<decltype(element)>) {
      if (std::in_range<std::int64_t>(
              static_cast<std::conditional_t<std::is_same_v<decltype(element), bool>, std::uint8_t,
                                             decltype(element)>>(element))) {
        result = static_cast<std::int64_t>(element);
      }
    }
  });
  return result;
}

std::optional<double> number_at(const GgufValue& value, std::uint64_t index) {
  std::optional<double> result;
  visit_element(value, index, [&](auto element) {
    if constexpr (!std::is_same_v<decltype(element), bool>) result = static_cast<double>(element);
  });
  return result;
}

// Splits the first text off `bytes`, whose lengths parse() has checked.
std::string_view next_text(std::span<const std::byte>& bytes) {
  std::uint64_t size = 0;
  std::memcpy(&size, bytes.data(), sizeof(size));
  const auto text = bytes.subspan(sizeof(size), size);
  bytes = bytes.subspan(sizeof(size) + size);
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

// All elements through `at`, or nullopt as soon as one is of another type.
template <typename T, typename At>
std::optional<std::vector<T>> all_elements(const GgufValue& value, At at) {
  if (value.type != GgufValueType::kArray) return std::nullopt;
  std::vector<T> elements;
  for (std::uint64_t i = 0; i < value.count; ++i) {
    const std::optional<T> element = at(value, i);
    if (!element) return std::nullopt;
    elements.push_back(*element);
  }
  return elements;
}

std::string element_to_string(const GgufValue& value, std::uint64_t index) {
  std::string text;
  visit_element(value, index, [&](auto element) { text = fmt::format("{}", +element); });
  return text;
}

}  // namespace

const char* gguf_value_type_name(GgufValueType type) {
  static constexpr const char* kNames[] = {"u8",   "i8",   "u16",   "i16", "u32", "i32", "f32",
                                           "bool", "text", "array", "u64", "i64", "f64"};
  const auto index = static_cast<std::size_t>(type);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

std::optional<std::int64_t> GgufValue::integer() const {
  return type == GgufValueType::kArray ? std::nullopt : integer_at(*this, 0);
}

std::optional<double> GgufValue::number() const {
  return type == GgufValueType::kArray ? std::nullopt : number_at(*this, 0);
}

std::optional<bool> GgufValue::boolean() const {
  if (type != GgufValueType::kBool) return std::nullopt;
  return bytes[0] != std::byte{0};
}

std::optional<std::string_view> GgufValue::text() const {
  if (type != GgufValueType::kText) return std::nullopt;
  auto rest = bytes;
  return next_text(rest);
}

std::optional<std::vector<std::string_view>> GgufValue::texts() const {
  if (type != GgufValueType::kArray || element_type != GgufValueType::kText) return std::nullopt;
  std::vector<std::string_view> elements;
  elements.reserve(count);  // checked by parse(): every element has at least 8 bytes in the file
  auto rest = bytes;
  for (std::uint64_t i = 0; i < count; ++i) elements.push_back(next_text(rest));
  return elements;
}

std::optional<std::vector<std::int64_t>> GgufValue::integers() const {
  return all_elements<std::int64_t>(*this, integer_at);
}

std::optional<std::vector<double>> GgufValue::numbers() const {
  return all_elements<double>(*this, number_at);
}

std::string GgufValue::to_string(std::size_t max_chars) const {
  if (type == GgufValueType::kText) return quote(text()->substr(0, max_chars));
  if (type == GgufValueType::kBool) return *boolean() ? "true" : "false";
  if (type != GgufValueType::kArray) return element_to_string(*this, 0);
  std::string out = fmt::format("{}[{}]", gguf_value_type_name(element_type), count);
  auto rest = bytes;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (out.size() >= max_chars) return out + " ...";
    out += i == 0 ? " " : ", ";
    out += element_type == GgufValueType::kText ? quote(next_text(rest).substr(0, max_chars))
                                                : element_to_string(*this, i);
  }
  return out;
}

}  // namespace cria
