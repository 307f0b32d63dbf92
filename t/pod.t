#!/usr/bin/env perl
# The documentation has valid POD. Needs Test::Pod.

use strict;
use warnings;

use FindBin;
use Test::More;

eval { require Test::Pod; Test::Pod->VERSION('1.22'); Test::Pod->import; 1 }
    or plan skip_all => 'Test::Pod 1.22 is not installed';

all_pod_files_ok(all_pod_files("$FindBin::Bin/../lib", "$FindBin::Bin/../bin"));
