#include <gtest/gtest.h>

#include "cria/machine.h"

namespace cria {
namespace {

TEST(SustainedRates, OfEveryKindInTheReport) {
  const MachineOptions options = {.seconds = 0, .read_bytes = std::uint64_t{4} << 20};
  const Result<MachineReport> report = measure_machine(options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  SustainedRates rates(*report, options);
  for (const DotRate& dots : report->dots) {
    const Result<double> rate = rates.dots(dots.type, dots.n_threads, 0);
    ASSERT_TRUE(rate.ok()) << rate.status().message();
    EXPECT_GT(*rate, 0) << dots.type;
  }
  EXPECT_EQ(rates.memory_bytes(), 0u);
  for (int i = 0; i < 2; ++i) {
    const Result<double> rate = rates.read(0);
    ASSERT_TRUE(rate.ok()) << rate.status().message();
    EXPECT_GT(*rate, 0);
    EXPECT_EQ(rates.memory_bytes(), options.read_bytes);
  }
}

TEST(SustainedRates, WhatTheReportDoesNotHave) {
  const MachineOptions options = {.seconds = 0, .read_bytes = std::uint64_t{4} << 20};
  const Result<MachineReport> report = measure_machine(options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  SustainedRates rates(*report, options);
  EXPECT_EQ(rates.dots("int7", 1, 0).status().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(rates.dots("int8", 0, 0).status().code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace cria
