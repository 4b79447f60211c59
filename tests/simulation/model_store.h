// A store in memory that keeps the contract of lun/backend.h over power cuts, and breaks it in one way on demand: the
// proof that the oracle notices.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "simulation/harness.h"

namespace umbra::simulation {

enum class PlantedBug : uint8_t {
    kNone,
    kFlushLies,
    kFuaLies,
    kTornWrite,
    kTornRead,
    kMisplacedWrite,
    kLostUpdateInBlock,
    kZeroesWholeBlocks,
    kCompareIgnored,
    kSnapshotNotOneInstant,
    kSnapshotOfFlushedOnly,
    kSnapshotFollowsSource,
    kSnapshotNotDurable,
    kSnapshotOfSomeOnly,
    kCloneWritesThrough,
    kResyncHalfDone,
    kResyncKeepsNew,
    kRemoveForgotten,
    kCreateForgotten,
    kRecordsApart,
    kGoesBack,
    kResizeShowsOld,
    kResizeForgotten,
    kDegradedWrongByte,
    kDegradedError,
    kRecoverNotHealthy,
    kHangsAfterCut,
    kOpenFails,
    kNotDeterministic,
    kFailsCheck,
};
std::vector<PlantedBug> all_planted_bugs();
std::string to_string(PlantedBug bug);

Factory model_factory(PlantedBug bug = PlantedBug::kNone);

}  // namespace umbra::simulation
