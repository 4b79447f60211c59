#include "cli/diskshadow_help.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "cli/diskshadow_text.h"

namespace umbra::cli::diskshadow {

namespace {

struct Row {
    std::string_view keyword;
    std::string_view sentence;
};

struct Topic {
    std::string_view command;  ///< lower case, as the shell looks it up
    std::string_view summary;
    std::string_view syntax;
    std::vector<Row> rows;
    std::string_view example;
};

const std::vector<Topic>& set_and_add_topics() {
    static const std::vector<Topic> topics = {
        {"set context",
         "Chooses the kind of shadow copy.",
         "SET CONTEXT { CLIENTACCESSIBLE | PERSISTENT [ NOWRITERS ] | VOLATILE [ NOWRITERS ] }",
         {{"CLIENTACCESSIBLE", "Copies that client computers show as previous versions."},
          {"PERSISTENT", "Copies that stay until they are deleted."},
          {"PERSISTENT NOWRITERS", "The same, without any writer taking part."},
          {"VOLATILE", "Copies that vanish when DiskShadow exits or is reset."},
          {"VOLATILE NOWRITERS", "The same, without any writer taking part."}},
         "SET CONTEXT PERSISTENT"},
        {"set option",
         "Chooses how shadow copies are made.",
         "SET OPTION { [ DIFFERENTIAL | PLEX ] [ TRANSPORTABLE ] [ [ ROLLBACKRECOVER ] [ TXFRECOVER ] | NOAUTORECOVER "
         "] }",
         {{"DIFFERENTIAL", "The copy shares unchanged blocks with its source."},
          {"PLEX", "The copy is complete, on drives of its own."},
          {"TRANSPORTABLE", "The copy is not used here but imported, on this or another host."},
          {"ROLLBACKRECOVER", "Writers prepare the copy for being rolled back to."},
          {"TXFRECOVER", "Transactions of the file system are recovered at creation."},
          {"NOAUTORECOVER", "Nothing changes the copy once it is made."}},
         "SET OPTION TRANSPORTABLE"},
        {"set metadata",
         "Names the file that CREATE writes for other hosts.",
         "SET METADATA <file.cab>",
         {{"<file.cab>", "File for the documents of the shadow copy set."}},
         "SET METADATA /var/backups/db.cab"},
        {"set verbose",
         "Turns additional messages on or off.",
         "SET VERBOSE { ON | OFF }",
         {{"ON", "Tells what goes into and comes out of metadata files, and what writers do."},
          {"OFF", "Tells results only."}},
         "SET VERBOSE ON"},
        {"set",
         "Lists the settings.",
         "SET [ CONTEXT | OPTION | METADATA | VERBOSE ]",
         {{"(nothing)", "Lists the current settings."},
          {"CONTEXT", "Chooses the kind of shadow copy."},
          {"OPTION", "Chooses how shadow copies are made."},
          {"METADATA", "Names the file that CREATE writes."},
          {"VERBOSE", "Turns additional messages on or off."}},
         "SET CONTEXT PERSISTENT"},
        {"add volume",
         "Puts a volume into the shadow copy set.",
         "ADD VOLUME <volume> [ ALIAS <name> ] [ PROVIDER <provider ID> ]",
         {{"<volume>", "Mount point, device, \\\\?\\Volume{GUID}\\, or a path on the volume."},
          {"ALIAS <name>", "Name for the shadow copy that CREATE will make."},
          {"PROVIDER <provider ID>", "Provider to use; otherwise one is chosen."}},
         "ADD VOLUME /srv/db ALIAS db"},
        {"add alias",
         "Gives a name to a value.",
         "ADD ALIAS <name> <value>",
         {{"<name>", "Letters, digits and _ - . ( ); used as %name%."},
          {"<value>", "What %name% stands for. CREATE stores it in the metadata file."}},
         "ADD ALIAS db {3f2504e0-4f89-41d3-9a0c-0305e82c3301}"},
        {"add shadow",
         "Puts a shadow copy into the set that RESYNC writes back.",
         "ADD SHADOW <shadow ID> [ <destination volume> ]",
         {{"<shadow ID>", "Shadow copy of the metadata that was loaded."},
          {"<destination volume>", "Volume to overwrite; otherwise the original one."}},
         "ADD SHADOW %db%"},
        {"add",
         "Lists the volumes of the set and the aliases.",
         "ADD [ VOLUME | ALIAS | SHADOW ]",
         {{"(nothing)", "Lists the volumes of the set and the aliases."},
          {"VOLUME", "Puts a volume into the shadow copy set."},
          {"ALIAS", "Gives a name to a value."},
          {"SHADOW", "Puts a shadow copy into the set that RESYNC writes back."}},
         "ADD VOLUME /srv/db ALIAS db"},
    };
    return topics;
}

const std::vector<Topic>& work_topics() {
    static const std::vector<Topic> topics = {
        {"begin",
         "Starts a full backup, or a restore.",
         "BEGIN { BACKUP | RESTORE }",
         {{"BACKUP", "Starts a full backup."}, {"RESTORE", "Starts a restore from the metadata that was loaded."}},
         "BEGIN BACKUP"},
        {"end",
         "Ends a full backup, or a restore.",
         "END { BACKUP | RESTORE }",
         {{"BACKUP", "Ends a full backup."}, {"RESTORE", "Ends a restore."}},
         "END BACKUP"},
        {"create",
         "Makes the shadow copies.",
         "CREATE",
         {{"(nothing)", "Makes shadow copies of all volumes that were added, at one instant."}},
         "CREATE"},
        {"exec",
         "Runs a program, to which aliases are environment variables.",
         "EXEC <file>",
         {{"<file>", "Program or script on this host; if it fails, DiskShadow exits."}},
         "EXEC ./copy-out.sh"},
        {"load metadata",
         "Reads a metadata file.",
         "LOAD METADATA <file.cab>",
         {{"<file.cab>", "File that CREATE wrote, here or on another host."}},
         "LOAD METADATA /var/backups/db.cab"},
        {"import",
         "Brings a transportable set to this host.",
         "IMPORT",
         {{"(nothing)", "Imports the set whose metadata was loaded."}},
         "IMPORT"},
        {"expose",
         "Makes a shadow copy visible.",
         "EXPOSE <shadow ID> { <directory> | <share> }",
         {{"<shadow ID>", "Shadow copy on this host."},
          {"<directory>", "Empty directory in which it is mounted, read-only."},
          {"<share>", "Name of a network share to create."}},
         "EXPOSE %db% /mnt/copy"},
        {"unexpose",
         "Undoes EXPOSE.",
         "UNEXPOSE { <shadow ID> | <directory> | <share> }",
         {{"<shadow ID>", "Shadow copy that is exposed."},
          {"<directory>", "Directory in which one is exposed."},
          {"<share>", "Share by which one is exposed."}},
         "UNEXPOSE /mnt/copy"},
        {"mask",
         "Takes an imported set off this host.",
         "MASK <shadow set ID>",
         {{"<shadow set ID>", "Set of imported hardware shadow copies."}},
         "MASK %Import_1%"},
        {"break",
         "Turns shadow copies into ordinary volumes.",
         "BREAK [ WRITABLE ] <shadow set ID>",
         {{"WRITABLE", "The volumes can be written to; otherwise they stay read-only."},
          {"<shadow set ID>", "Set of imported hardware shadow copies."}},
         "BREAK WRITABLE %VSS_SHADOW_SET%"},
        {"revert",
         "Rolls a volume back.",
         "REVERT <shadow ID>",
         {{"<shadow ID>", "Shadow copy whose content the original volume gets."}},
         "REVERT %db%"},
        {"resync",
         "Writes shadow copies back to their volumes, inside the array.",
         "RESYNC [ NOVOLCHECK ] [ REVERT_ORIGINALSIG ]",
         {{"NOVOLCHECK", "Also overwrites volumes of the same LUNs that were not added."},
          {"REVERT_ORIGINALSIG", "The disks get the signatures of the original disks."}},
         "RESYNC"},
        {"delete",
         "Deletes shadow copies.",
         "DELETE SHADOWS { ALL | VOLUME <volume> | OLDEST <volume> | SET <set ID> | ID <shadow ID> | EXPOSED "
         "<directory> }",
         {{"ALL", "Every shadow copy of this host."},
          {"VOLUME <volume>", "All of one volume."},
          {"OLDEST <volume>", "The oldest of one volume."},
          {"SET <set ID>", "All of one set."},
          {"ID <shadow ID>", "One."},
          {"EXPOSED <directory>", "The one that is exposed there."}},
         "DELETE SHADOWS SET %VSS_SHADOW_SET%"},
        {"list",
         "Lists shadow copies, providers or writers.",
         "LIST { SHADOWS { ALL | SET <set ID> | ID <shadow ID> } | PROVIDERS | WRITERS [ METADATA | DETAILED | STATUS "
         "] }",
         {{"SHADOWS ALL", "Every shadow copy of this host."},
          {"SHADOWS SET <set ID>", "Those of one set."},
          {"SHADOWS ID <shadow ID>", "One."},
          {"PROVIDERS", "The providers that are registered."},
          {"WRITERS METADATA", "Writers and their components."},
          {"WRITERS DETAILED", "The same, with file specifications."},
          {"WRITERS STATUS", "The states of writers."}},
         "LIST SHADOWS ALL"},
        {"writer",
         "Demands or leaves out a writer or component.",
         "WRITER { VERIFY | EXCLUDE } { <writer> | <component> }",
         {{"VERIFY", "CREATE fails unless it takes part."},
          {"EXCLUDE", "It is left out of backup or restore."},
          {"<writer>", "Name in quotes, or {writer ID}."},
          {"<component>", "\"Writer name:\\logical path\\component\"."}},
         "WRITER VERIFY \"PostgreSQL\""},
        {"simulate",
         "Tries a restore without doing it.",
         "SIMULATE RESTORE",
         {{"RESTORE", "Tests whether the writers would take part."}},
         "SIMULATE RESTORE"},
        {"reset",
         "Forgets all settings; volatile copies vanish.",
         "RESET",
         {{"(nothing)", "Forgets settings, volumes, aliases and metadata."}},
         "RESET"},
        {"exit", "Ends DiskShadow; volatile copies vanish.", "EXIT", {{"(nothing)", "Ends DiskShadow."}}, "EXIT"},
    };
    return topics;
}

template <class F>
void for_each_topic(F&& f) {
    for (const auto& topic : set_and_add_topics()) f(topic);
    for (const auto& topic : work_topics()) f(topic);
}

const std::vector<std::string_view>& phrases() {
    static const std::vector<std::string_view> all = {"add volume",
                                                      "add alias",
                                                      "add shadow",
                                                      "begin backup",
                                                      "begin restore",
                                                      "break writable",
                                                      "create",
                                                      "delete shadows all",
                                                      "delete shadows exposed",
                                                      "delete shadows id",
                                                      "delete shadows oldest",
                                                      "delete shadows set",
                                                      "delete shadows volume",
                                                      "end backup",
                                                      "end restore",
                                                      "exec",
                                                      "exit",
                                                      "expose",
                                                      "help",
                                                      "import",
                                                      "list providers",
                                                      "list shadows all",
                                                      "list shadows id",
                                                      "list shadows set",
                                                      "list writers detailed",
                                                      "list writers metadata",
                                                      "list writers status",
                                                      "load metadata",
                                                      "mask",
                                                      "reset",
                                                      "resync novolcheck",
                                                      "resync revert_originalsig",
                                                      "revert",
                                                      "set context clientaccessible",
                                                      "set context persistent nowriters",
                                                      "set context volatile nowriters",
                                                      "set metadata",
                                                      "set option differential",
                                                      "set option noautorecover",
                                                      "set option plex",
                                                      "set option rollbackrecover",
                                                      "set option transportable",
                                                      "set option txfrecover",
                                                      "set verbose off",
                                                      "set verbose on",
                                                      "simulate restore",
                                                      "unexpose",
                                                      "writer exclude",
                                                      "writer verify"};
    return all;
}

}  // namespace

std::string help_of(std::string_view command) {
    std::string out;
    for_each_topic([&](const Topic& topic) {
        if (topic.command != command) return;
        out = fmt::format("{}\n\n", topic.syntax);
        for (const auto& row : topic.rows) out += fmt::format("        {:<24}{}\n", row.keyword, row.sentence);
        out += fmt::format("\n        Example: {}\n", topic.example);
    });
    return out;
}

std::string help_overview() {
    std::string out;
    for_each_topic([&](const Topic& topic) {
        std::string name(topic.command);
        std::ranges::transform(name, name.begin(),
                               [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
        out += fmt::format("        {:<24}{}\n", name, topic.summary);
    });
    out += fmt::format("        {:<24}{}\n", "HELP [ <command> ]", "Shows this list, or the words of one command.");
    return out;
}

std::string usage() {
    return "DISKSHADOW [/s <scriptfile> [param1] [param2] ...] [/l <logfile>]     (script mode)\n"
           "DISKSHADOW [/l <logfile>]                                             (interactive mode)\n\n"
           "        /s <scriptfile>         Runs the commands in the file. In it, %DISKSH_PARAM_1%, %DISKSH_PARAM_2% "
           "and\n"
           "                                so on stand for the parameters.\n"
           "        /l <logfile>            Writes all that goes to the screen to this file, too.\n";
}

std::vector<std::string> completions(std::string_view line) {
    // The words before the one that is being typed must match; the next word of each phrase is a candidate.
    std::vector<std::string> typed;
    std::string current;
    for (const char c : line) {
        if (c == ' ' || c == '\t') {
            if (!current.empty()) typed.push_back(std::exchange(current, {}));
        } else {
            current.push_back(c);
        }
    }
    std::vector<std::string> out;
    for (const auto phrase : phrases()) {
        const auto words = split_words(phrase).value_or(std::vector<std::string>{});
        if (words.size() <= typed.size()) continue;
        if (!std::ranges::equal(typed, std::span(words).first(typed.size()), same_word)) continue;
        const auto& next = words[typed.size()];
        if (next.size() < current.size() || !same_word(std::string_view(next).substr(0, current.size()), current))
            continue;
        if (std::ranges::find(out, next) == out.end()) out.push_back(next);
    }
    return out;
}

}  // namespace umbra::cli::diskshadow
